from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.training.draws import key, seeded, torch_rng
from pinxit.training.flops import matrix_rate, measure
from pinxit.training.log import Meter, duration
from pinxit.training.lora import adapt
from pinxit.training.optim import Average, adamw, decays, learning_rate, trainable_parameters, weights
from pinxit.training.plan import Plan
from pinxit.training.precision import compile_modules
from pinxit.training.rows import all_rows
from tests.training.toy import Net, Toy, plan


def test_learning_rate_warms_up_then_falls() -> None:
    cosine = Plan(images=1100, batch=10, lr=1.0, final_lr=0.1, warmup=100)
    assert learning_rate(cosine, 0) == pytest.approx(0.1)  # the first update already moves
    assert learning_rate(cosine, 90) == pytest.approx(1.0)
    assert learning_rate(cosine, 600) == pytest.approx(0.55)
    assert learning_rate(cosine, 1100) == pytest.approx(0.1) == learning_rate(cosine, 5000)
    early = Plan(images=9999, batch=10, lr=1.0, final_lr=0.1, warmup=100, decay_horizon=1100)
    assert [learning_rate(early, n) for n in (600, 1100, 9000)] == pytest.approx([0.55, 0.1, 0.1])
    assert learning_rate(cosine, 95) == learning_rate(cosine, 100) == 1.0  # never more, whatever the batch
    short = Plan(images=100, batch=10, lr=1.0, final_lr=0.1, warmup=100)
    assert learning_rate(short, 100) == pytest.approx(1.0) and learning_rate(short, 101) == pytest.approx(0.1)
    linear = Plan(images=1100, batch=10, lr=1.0, warmup=100, schedule="linear")
    assert learning_rate(linear, 350) == pytest.approx(0.75)
    constant = Plan(images=1100, batch=10, lr=1.0, warmup=100, schedule="constant")
    assert learning_rate(constant, 1099) == 1.0


def test_only_matrices_decay() -> None:
    modules: dict[str, nn.Module] = {"net": Net()}
    modules["net"].positions = nn.Parameter(torch.zeros(3, 3))
    decayed = {name for name in trainable_parameters(modules) if decays(modules, name)}
    assert decayed == {"net/first.weight", "net/second.weight"}
    groups = adamw(modules, plan(decay=0.3)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.3, 2), (0.0, 4)]


def test_tables_of_every_model_are_left_alone() -> None:
    """What is looked up by an id or a place does not shrink, whatever it is called; what is multiplied does."""
    transformer = TokenTransformer(
        TransformerConfig(
            text_vocab=8, text_tokens=4, image_codes=8, grid=2, dim=8, depth=1, heads=1, attention="dense"
        )
    )
    reader = TextTransformer(TextTransformerConfig(vocab=8, tokens=4, width=8, layers=1, heads=1))
    clip = CLIP(CLIPConfig(8, CLIPVisionConfig(8, 8, 4, 1, 1), CLIPTextConfig(8, 4, 8, 1, 1, 7)))
    modules: dict[str, nn.Module] = {"transformer": transformer, "reader": reader, "clip": clip}
    matrices = {
        name for name in trainable_parameters(modules) if getattr(trainable_parameters(modules)[name], "ndim", 0) >= 2
    }
    tables = {name for name in matrices if not decays(modules, name)}
    own = ("begin", "text", "text_place", "image", "row", "column")
    assert {name for name in tables if name.startswith("transformer")} == {f"transformer/embed.{name}" for name in own}
    assert {name for name in tables if name.startswith("reader")} == {"reader/tokens", "reader/places"}
    ours = {name for name in tables if name.startswith("clip")}
    assert {"clip/visual.positions", "clip/text.positions"} < ours and len(ours) == 3
    assert {"transformer/text_head", "transformer/image_head", "clip/text.proj"} <= matrices - tables


def test_average_is_the_weighted_mean_it_promises() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = Average({"net": net}, decay=0.5, every=2)
    expected = start = float(net.weight.detach())
    for update in range(1, 9):
        with torch.no_grad():
            net.weight.fill_(start + update)
        average.update(update)
        if update % 2 == 0:
            n = update // 2
            d = min(0.5, (1 + n) / (10 + n))
            expected = d * expected + (1 - d) * (start + update)
    assert float(average.shadow["net/weight"]) == pytest.approx(expected, rel=1e-6)


def test_averaged_weights_stand_in_and_leave_no_trace() -> None:
    net = Net()
    average = Average({"net": net}, decay=0.9)
    before = {name: tensor.clone() for name, tensor in weights({"net": net}).items()}
    average.shadow["net/first.weight"].fill_(3.0)
    with average.in_place():
        assert (net.first.weight == 3).all() and not net.training
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights({"net": net}).items())


def test_shared_weights_appear_once() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert set(weights({"m": tied})) == {"m/0.weight", "m/0.bias", "m/1.bias"} == set(trainable_parameters({"m": tied}))


def test_draws_depend_on_every_part_of_their_name() -> None:
    keys = {key(seed, purpose, place) for seed in (0, 1) for purpose in ("a", "b") for place in (0, 1, 11)}
    assert len(keys) == 12 and key(0, "a", 1) == key(0, "a", 1)
    one, two = (torch.rand(3, generator=torch_rng(7, "noise", place)) for place in (5, 5))
    assert torch.equal(one, two)


def test_seeded_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = (seeded(lambda: torch.rand(1), 0, "x") for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.rand(1), expected)


def test_a_seeded_step_keeps_its_precision() -> None:
    """A network with dropout runs inside `seeded`, in the autocast of its step."""
    with torch.autocast("cpu", torch.bfloat16):
        assert seeded(lambda: nn.Linear(4, 4)(torch.ones(1, 4)).dtype, 0, "x") == torch.bfloat16


def test_measured_cost_of_a_known_network() -> None:
    """Linear layers cost 2 in*out a picture forward, twice that backward; the first needs no gradient of its input,
    but here its input holds the table's rows and the noise, so only the table's lookup is free."""
    task = Toy()
    before = task.net.middle.clone()
    cost = measure(task, task.batch(all_rows(0, 4)), plan(), torch.device("cpu"))
    assert cost.parameters == 8 * 32 + 32 + 32 * 4 + 4 + 5 * 8
    target = 2 * 8 * 4  # the loss multiplies by the expected map
    assert cost.flops == pytest.approx(3 * 2 * (8 * 32 + 32 * 4) + target)
    assert torch.equal(task.net.middle, before)
    assert all(parameter.grad is None for parameter in task.net.parameters())
    assert cost.activation_bytes == 4 * (8 + 32 + 4 + 4) + 8  # both inputs, error and target, the table's index
    assert cost.memory(plan()) == cost.parameters * 20 + cost.activation_bytes * 8
    assert cost.memory(plan(ema=0.0)) == cost.parameters * 16 + cost.activation_bytes * 8  # no average is kept


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_is_made_of_weights_alone_is_kept_once_and_not_for_every_picture(precision: str, lora: int) -> None:
    """Their copies in 16 bits, what a LoRA adds to them."""
    task = Toy()
    if lora:
        adapt(task.modules(), lora)
    few, many = (
        measure(task, task.batch(all_rows(0, size)), plan(precision=precision), torch.device("cpu"), native=True)
        for size in (4, 16)
    )
    assert few.activation_bytes == many.activation_bytes
    assert few.activation_bytes < 4 * (8 + 32 + 4 + 4) + 8 or precision == "fp32", "bf16 halves some"


def test_attention_on_the_cpu_is_counted() -> None:
    class Attend(Toy):
        def loss(self, batch, rows):  # type: ignore[no-untyped-def]
            q = self.net.table(batch["kind"]).view(1, 1, -1, 8)
            return nn.functional.scaled_dot_product_attention(q, q, q).sum(), {}

    cost = measure(Attend(), Toy().batch(all_rows(0, 4)), plan(), torch.device("cpu"))
    product = 2 * 4 * 4 * 8
    assert cost.flops * 4 == 7 * product  # two forward, five backward (one repeats the scores)


def test_matrix_rate_is_a_rate_and_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = matrix_rate(torch.float32, "cpu")
    assert 1e8 < rate < 1e15
    monkeypatch.setattr("pinxit.training.flops.time", None)  # nobody looks at the clock again
    assert matrix_rate(torch.float32, "cpu") == rate


@pytest.mark.parametrize("compilers", [(), ("g++",), ("clang++", "cl")])
def test_one_compiler_is_enough(compilers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in compilers else None)
    said = compile_modules([nn.Linear(2, 2)], plan(compile="yes"), torch.device("cpu"), lambda: None)
    assert ("no C++ compiler" in said) is not bool(compilers)


def test_compile_falls_back_and_says_why() -> None:
    net = nn.Linear(2, 2)

    def trial() -> None:
        if net._compiled_call_impl is not None:
            raise RuntimeError("in a subprocess:\n\nTraceback\n  no such kernel\n")

    said = compile_modules([net], plan(compile="yes"), torch.device("cpu"), trial)
    assert said == "not compiled: RuntimeError: in a subprocess: ... no such kernel"
    assert net._compiled_call_impl is None and net(torch.ones(2)).shape == (2,)
    assert compile_modules([net], plan(compile="auto"), torch.device("cpu"), trial) == "not compiled"


def test_meter_means() -> None:
    meter = Meter()
    meter.add({"a": 1.0, "b": torch.tensor(2.0)})
    meter.add({"a": 3.0, "b": torch.tensor(4.0)})
    assert meter.read() == {"a": 2.0, "b": 3.0}
    assert meter.read() == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5 s"),
        (119, "119 s"),
        (720, "12 min"),
        (3.4 * 3600, "3.4 h"),
        (16 * 86400, "16 days"),
        (7 * 365 * 86400, "7 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
