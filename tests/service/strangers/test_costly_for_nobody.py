"""What anybody may ask for costs once, however many ask."""

import asyncio
import gzip
from unittest import mock

import httpx
import pytest

from tests.kit.towns.running import Resident, Running
from trust.pages.render import render_interface
from trust.service.acts import enrol
from trust.service.pages.town.render import render_town
from trust.service.publish.compressed import CompressedBundles

pytestmark = pytest.mark.anyio
MANY = 20


async def test_the_towns_page_is_rendered_once_for_all_who_look_while_nothing_changes(running: Running) -> None:
    running.clock.stand()
    with mock.patch("trust.service.pages.routes.render_town", wraps=render_town) as rendered:
        answers = await asyncio.gather(*(running.client.get("/") for _ in range(MANY)))
        assert {answer.status_code for answer in answers} == {httpx.codes.OK}
        assert len({answer.text for answer in answers}) == 1
        assert rendered.call_count == 1
        await running.enrol(resident := Resident())
        await running.grant(resident.consent())
        changed = await running.client.get("/")
        assert changed.text != answers[0].text
        assert rendered.call_count == 2


async def test_the_page_of_the_interface_is_rendered_once_in_each_language(running: Running) -> None:
    with mock.patch("trust.pages.shared_routes.render_interface", wraps=render_interface) as rendered:
        for language in ("en", "ja") * 5:
            answer = await running.client.get("/interface", params={"lang": language})
            assert f'lang="{language}"' in answer.text
        assert rendered.call_count == 2


async def test_a_bundle_of_entries_is_compressed_once_for_all_readers(running: Running) -> None:
    await running.settle()
    bundle = f"/log/tile/entries/000.p/{running.service.sequencer.size}"
    before = running.service.bundles.made
    answers = await asyncio.gather(*(running.client.get(bundle) for _ in range(MANY)))
    assert {answer.headers["content-encoding"] for answer in answers} == {"gzip"}
    assert running.service.bundles.made == before + 1


async def test_what_was_compressed_is_kept_within_its_bytes_and_a_mended_file_is_another() -> None:
    kept = CompressedBundles(most=100)
    for number in range(10):
        assert gzip.decompress(await kept.of(bytes([number]) * 5_000)) == bytes([number]) * 5_000
    assert sum(len(each) for each in kept._kept.values()) <= 100
    assert await kept.of(b"damaged") != await kept.of(b"mended")


async def test_ones_own_enrolment_many_times_in_one_body_is_checked_once(running: Running) -> None:
    enrolment = Resident().enrolment(running.town)
    with mock.patch.object(enrol, "attested_row", wraps=enrol.attested_row) as checked:
        answer = await running.done("/v1/enrolments", {"enrolments": [enrolment] * 200})
    assert answer == {"enrolled": 200}
    assert checked.call_count == 1
