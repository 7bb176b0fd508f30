from __future__ import annotations

from collections import Counter

from pinxit.text.words import counting, most_frequent, stretches, words


def test_words_split_at_spaces_and_signs_and_chinese_by_character() -> None:
    assert words("A Close-up of THREE penguins, don't!") == ["a", "close", "up", "of", "three", "penguins", "don", "t"]
    assert words("一个red球") == ["一", "个", "red", "球"]
    assert words("ﬁve snake_case 42") == ["five", "snake", "case", "42"]
    assert words(" ,;😀 ") == []
    assert words("नमस्ते, İzmir") == ["नमस्ते", "i\u0307zmir"]  # marks belong to their letters
    assert words("7\ufe0f\u20e3 cats") == ["7", "cats"]  # but those of an emoji to none


def test_unknown_characters_side_by_side_are_one_word() -> None:
    assert stretches("红色的汽车, a cat", {"汽", "车", "cat"}) == ["汽车", "cat"], "few of a run"
    assert stretches("三个绿色的三角形", set("个绿色角形")) == ["三个绿色的三角形"], "most of it"
    assert stretches("汽的车 汽的车 a red car", set("汽")) == ["汽"] and stretches("汽的车 cat", set()) == []


def test_the_most_frequent_words_are_kept_and_ties_are_alphabetical() -> None:
    counts: Counter[str] = Counter()
    assert list(counting(["b a c", "c"], counts)) == ["b a c", "c"]
    assert most_frequent(counts, 2) == ["c", "a"]
