from __future__ import annotations

import numpy as np
import pytest

from pinxit.data.drawings import KNOWN, OTHERS, Drawings, captions
from pinxit.data.labels import label_of
from pinxit.errors import UsageError
from pinxit.world.pack import Pack


def test_every_thing_is_drawn_by_everybody() -> None:
    data, pack = Drawings("full"), Pack.open()
    assert len(data.labels) == len(set(data.labels)) > 400
    assert all({*KNOWN, *OTHERS} <= set(pack.things[name].artists) for name in data.labels)
    assert not set(KNOWN) & set(OTHERS)
    assert set(Drawings("small").labels) < set(data.labels)


def test_splits_share_things_and_not_artists() -> None:
    """What a picture shows is the sprite of its artist: a thing's corner colours differ between the artists only."""
    used = {split: {Drawings("small", split)._scene(i).items[0].artist for i in range(200)} for split in SPLITS}
    assert used == {"train": set(KNOWN), "seen": set(KNOWN), "unseen": set(OTHERS)}
    train, seen = Drawings("small", "train"), Drawings("small", "seen")
    assert [label_of(train[i]) for i in range(30)] == [label_of(seen[i]) for i in range(30)]
    assert not any(np.array_equal(train[i].picture, seen[i].picture) for i in range(30))


SPLITS = ("train", "seen", "unseen")


def test_broad_training_never_shows_a_label_by_the_other_artists() -> None:
    broad, small = Drawings("broad"), Drawings("small")
    assert broad.labels == small.labels
    shown = [broad._scene(i).items[0] for i in range(3000)]
    labelled = [one for one in shown if one.name in broad.labels]
    assert len(labelled) == 1500 and {one.artist for one in labelled} == set(KNOWN)
    others = [one for one in shown if one.name not in broad.labels]
    assert set(OTHERS) <= {one.artist for one in others} and len({one.name for one in others}) > 500
    assert not {one.name for one in others} & set(Pack.open().names("small"))
    assert {label_of(Drawings("broad", "unseen")[i]) for i in range(50)} == set(small.labels)


def test_items_are_what_their_place_says() -> None:
    one, again = Drawings("full", "unseen", 48)[77], Drawings("full", "unseen", 48)[77]
    assert np.array_equal(one.picture, again.picture) and one.captions == again.captions
    assert one.picture.shape == (48, 48, 3)
    for index in range(300):
        x0, y0, x1, y1 = Drawings("full")._scene(index).items[0].box
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_captions_name_the_thing_and_the_ground() -> None:
    fox = Pack.open().things["elephant"]
    assert captions(fox, "orange")[:2] == ("an elephant", "an elephant on an orange background")
    assert captions(fox, "orange")[3:] == ("一头大象", "橙色背景上的一头大象")


def test_wrong_names_are_refused() -> None:
    with pytest.raises(UsageError, match="no split 'test'; choose from train, seen, unseen"):
        Drawings("full", "test")
    with pytest.raises(UsageError, match="no drawings 'big'; choose from small, full, broad"):
        Drawings("big")
