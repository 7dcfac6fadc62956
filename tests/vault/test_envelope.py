"""What is stored of a secret: it comes back, and only where it was put."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dataflows_sdk.errors import EncryptionKeyError
from dataflows_sdk.vault.envelope import Place, key_id_of
from dataflows_sdk.vault.keys import Keys

from ..conftest import examples

KEY = "a-key-of-the-tests-0123456789abcdefghij"
OTHER = "another-key-of-the-tests-9876543210zyxwvu"
ONE, TWO = Keys(KEY, "test"), Keys(OTHER, "test")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
PLACES = st.builds(Place, NAMES, NAMES, NAMES)


@given(TEXTS, PLACES)
def test_a_secret_comes_back_and_no_two_envelopes_are_alike(text: str, place: Place) -> None:
    envelope = ONE.first.seal(text, place)
    assert ONE.first.open(envelope, place) == text
    assert key_id_of(envelope) == ONE.first.id
    assert len(envelope) == 1 + 8 + 12 + len(text.encode()) + 16
    assert ONE.first.seal(text, place) != envelope
    assert len(text) < 4 or text.encode() not in envelope


@given(TEXTS, PLACES, st.data())
def test_one_changed_bit_and_it_does_not_open(text: str, place: Place, data: st.DataObject) -> None:
    envelope = bytearray(ONE.first.seal(text, place))
    at = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[at // 8] ^= 1 << at % 8
    assert ONE.first.open(bytes(envelope), place) is None


@given(TEXTS, PLACES, st.integers(0, 40), st.binary(max_size=8))
def test_cut_or_longer_it_does_not_open(text: str, place: Place, cut: int, more: bytes) -> None:
    envelope = ONE.first.seal(text, place)
    assume(cut or more)
    assert ONE.first.open(envelope[: len(envelope) - cut] + more, place) is None or (
        envelope[: len(envelope) - cut] + more == envelope
    )


@given(TEXTS, PLACES, PLACES)
def test_in_another_place_it_does_not_open(text: str, place: Place, other: Place) -> None:
    opened = ONE.first.open(ONE.first.seal(text, place), other)
    assert opened == (text if place == other else None)


@given(NAMES, NAMES, NAMES, NAMES)
def test_places_that_run_together_are_told_apart(a: str, b: str, c: str, d: str) -> None:
    assume(b)
    one, other = Place(a + b, c, d), Place(a, b + c, d)
    assert one == other or one.associated(b"") != other.associated(b"")


@given(TEXTS, PLACES)
def test_another_key_does_not_open_it(text: str, place: Place) -> None:
    envelope = ONE.first.seal(text, place)
    assert TWO.first.open(envelope, place) is None
    forged = envelope[:1] + TWO.first.id + envelope[9:]
    assert TWO.first.open(forged, place) is None


@settings(max_examples=examples(100, 300))
@given(st.binary(max_size=100), PLACES)
def test_noise_does_not_open(noise: bytes, place: Place) -> None:
    assert ONE.first.open(noise, place) is None
    assert ONE.first.open(b"\x01" + ONE.first.id + noise, place) is None
    assert key_id_of(noise) is None or noise[0] == 1


@pytest.mark.parametrize("bad", ["", " , ", "short", "a" * 64, f"{KEY},short", "\udc80" * 3 + KEY, KEY + "\x00"])
def test_bad_keys_are_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(EncryptionKeyError) as refused:
        Keys(bad, "DATAFLOWS_ENCRYPTION_KEY")
    assert KEY not in str(refused.value)
    assert "dataflows key new" in str(refused.value)


def test_several_keys_and_none_is_shown() -> None:
    keys = Keys(f"{KEY}, {OTHER}", "test")
    assert keys.ids == (*ONE.ids, *TWO.ids)
    assert keys.first.id == ONE.first.id
    assert keys.by_id(TWO.first.id) is not None
    assert KEY not in repr(keys) + repr(keys.first)
