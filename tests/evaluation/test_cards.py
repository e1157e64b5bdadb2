"""A score keeps its card; scores are kept whole; cards that differ say how."""

import dataclasses
import json
import threading

import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation.cards import FILE, Protocol, Sampling, Score, differences, keep, kept, unlike

PROTOCOL = Protocol("frechet", "mnist", "ab" * 32, "train", 1000, 2000, "pixels", settings={"k": 3})


def score(value=1.5, step=10, seed=0, **protocol):
    card = dataclasses.replace(PROTOCOL, **protocol)
    return Score("FD-pixels", float(value), "lower", card, Sampling("vae", step, seed=seed), 0.25, {"floor": 0.5})


def test_what_is_kept_comes_back_whole(tmp_path):
    scores = [score(), score(2.5, step=20), score(float("inf"), step=30)]
    keep(tmp_path, scores[:1])
    keep(tmp_path, scores[1:])
    assert kept(tmp_path) == scores


def test_a_score_that_is_taken_again_replaces_the_old_one_and_no_other(tmp_path):
    keep(tmp_path, [score(1), score(2, seed=1), score(3, sample_count=10), score(4)])
    assert [one.value for one in kept(tmp_path)] == [4, 2, 3]


def test_a_line_torn_by_a_kill_is_nobodys_score_and_costs_no_other(tmp_path):
    keep(tmp_path, [score(1), score(2, step=20)])
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-40])
    assert [one.value for one in kept(tmp_path)] == [1]
    keep(tmp_path, [score(3, step=30)])
    assert [one.value for one in kept(tmp_path)] == [1, 3]


@pytest.mark.parametrize("line", ["{}", "no json", '{"name": "FD"}', "[1]"])
def test_a_damaged_line_in_between_is_told(tmp_path, line):
    keep(tmp_path, [score()])
    path = tmp_path / FILE
    path.write_text(f"{line}\n" + path.read_text())
    with pytest.raises(UserError, match="line 1, is damaged"):
        kept(tmp_path)


def test_several_writers_at_once_lose_nothing(tmp_path):
    writers = [
        threading.Thread(target=keep, args=(tmp_path, [score(step=10 * n), score(step=10 * n + 1)])) for n in range(20)
    ]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(kept(tmp_path)) == 40


@pytest.mark.parametrize(
    "change, told",
    [
        ({"resizer": "tf1"}, ["resizer none against tf1"]),
        ({"sample_count": 5}, ["sample count 2000 against 5"]),
        ({"features_sha256": "cd" * 32}, ["features sha256 none against cdcdcdcdcdcd"]),
        ({"settings": {"k": 5, "balls": "open"}}, ["k 3 against 5", "balls unset against open"]),
        ({}, []),
    ],
)
def test_differences_are_told_in_words(change, told):
    assert differences(PROTOCOL, dataclasses.replace(PROTOCOL, **change)) == told


def test_every_field_of_a_protocol_makes_a_difference():
    for field in dataclasses.fields(Protocol):
        other = {"int": 7, "str": "other"}.get(getattr(field.type, "__name__", field.type), {"x": 1})
        assert differences(PROTOCOL, dataclasses.replace(PROTOCOL, **{field.name: other})), field.name


def test_numbers_that_are_not_finite_are_kept_as_text_and_come_back(tmp_path):
    odd = dataclasses.replace(score(float("inf")), spread=float("nan"), notes={"batch": float("inf")})
    keep(tmp_path, [odd])
    row = json.loads((tmp_path / FILE).read_text(), parse_constant=pytest.fail)
    assert (row["value"], row["spread"], row["notes"]["batch"]) == ("inf", "nan", "inf")
    (again,) = kept(tmp_path)
    assert again.value == float("inf") and again.spread != again.spread


def test_scores_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        kept(tmp_path)


def test_other_truncations_are_not_alike():
    cut = dataclasses.replace(score(), sampling=Sampling("vae", 10, truncation="0.5"))
    assert unlike(score(), score(2)) == [] and unlike(score(), cut) == ["truncation none against 0.5"]


def test_a_line_for_people_has_value_spread_and_notes():
    assert score().line() == "FD-pixels                1.5 +- 0.25; floor 0.5"
    assert json.loads(json.dumps(dataclasses.asdict(score())))["protocol"]["settings"] == {"k": 3}
