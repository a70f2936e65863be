"""A place's files: made with mode 0600, read strictly, and every fault said in a sentence."""

import asyncio
import os
import shutil
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nacl.signing import SigningKey

from ledger.errors import Malformed, MusubiError, NotFound, NotPermitted, TooLarge
from ledger.notes.note import VerifierKey
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.machine.forks import forks
from tests.kit.machine.ways import Authority
from tests.kit.machine.web import web_server
from trust.cli import main
from trust.client.place import Place, make_place
from trust.files.keys import write_secret
from trust.log.pins import Trust, load_trust, save_trust
from trust.runtime.problems import KINDS

URL = "https://musubi.city.example"
SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def trust() -> Trust:
    key = VerifierKey.ed25519("example.town/log", bytes(SigningKey(bytes(32)).verify_key))
    policy = f"log {key}\nquorum none\n"
    return Trust(origin=key.name, log_key=str(key), genesis_sha256="00" * 32, witness_policy=policy)


def made(folder: Path, trust: Trust, alias: str | None = "bus_co") -> Place:
    return make_place(folder, service=URL, trust=trust, secret=SECRET, alias=alias)


def musubi(*words: object, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = CliRunner(env=env).invoke(main, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def init(folder: Path, trust: Trust, *words: object) -> tuple[int, str, str]:
    """Run ``place init`` with the pins."""
    pins = folder.with_name("pins.json")
    save_trust(trust, pins)
    return musubi("place", "init", "--url", URL, "--pins", pins, folder, *words)


def test_a_place_gives_back_what_it_was_made_of_also_when_it_was_moved(tmp_path: Path, trust: Trust) -> None:
    make_place(
        tmp_path / "here",
        service=f"{URL}/trust/",
        trust=trust,
        secret=SECRET,
        alias="bus_co",
        authorities=Authority().pem,
        proxy="http://someone:secret@proxy.example:3128",
    )
    shutil.move(tmp_path / "here", tmp_path / "there")
    place = Place(tmp_path / "there")
    assert place.is_there
    assert not place.is_resident
    assert (place.service, place.alias, place.trust) == (f"{URL}/trust", "bus_co", trust)
    assert bytes(place.key) == SECRET
    assert place.public_key == public_hex(SigningKey(SECRET))
    assert place.settings.proxy == "http://someone:secret@proxy.example:3128"
    with place.client() as client, place.log() as log:
        assert (client.trust, log.url) == (trust, f"{URL}/trust")


def test_a_residents_place_has_a_seed_and_promises_and_no_alias(tmp_path: Path, trust: Trust) -> None:
    place = made(tmp_path / "mine", trust, alias=None)
    assert place.is_resident
    assert place.seed == SECRET
    assert place.public_key == public_hex(pairwise_key(SECRET, SERVICE))
    assert place.promises == tmp_path / "mine" / "promises"
    for part in ("alias", "key"):
        with pytest.raises(NotPermitted, match="is a resident's"):
            getattr(place, part)
    for part in ("seed", "promises"):
        with pytest.raises(NotPermitted, match="that of 'bus_co'"):
            getattr(made(tmp_path / part, trust), part)


def test_a_place_is_its_owners_alone_and_is_never_written_over(tmp_path: Path, trust: Trust) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    made(folder, trust)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("signing.key", "place.toml"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NotPermitted, match="not empty"):
        made(folder, trust, alias="other")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, trust: Trust) -> None:
    place = made(tmp_path / "mine", trust)
    (place.folder / "signing.key").chmod(0o640)
    with pytest.raises(NotPermitted, match="chmod 600"):
        _ = place.key


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", Malformed),
        ("service = ", Malformed),
        ('service = "ftp://somewhere"', Malformed),
        ('service = "https://"', Malformed),
        ('service = "https://two words"', Malformed),
        (f'service = "{URL}"\nalias = "Bus Co"', Malformed),
        (f'service = "{URL}"\nalias = 7', Malformed),
        (f'service = "{URL}"\nproxy = "proxy:3128"', Malformed),
        (f'service = "{URL}"\nsurprise = 1', Malformed),
        (f'service = "{URL}"\nservice = "{URL}"', Malformed),
        ('service = "http://user:secret@musubi.example"', Malformed),
        (f'service = "{URL}"\nproxy = "http://u:ge/heim@proxy.example"', Malformed),
        (f'service = "{URL}"\nca_file = "/etc/ssl/ca.pem"', Malformed),
        (None, NotFound),
    ],
)
def test_settings_that_are_none_are_refused_in_a_sentence_before_anything_else_is_read(
    tmp_path: Path, text: str | None, error: type[MusubiError]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    if text is not None:
        (folder / "place.toml").write_text(text)
    code, out, err = musubi("place", "show", "--place", folder)
    assert (code, out) == (KINDS[error].exit_code, "")
    (sentence,) = err.splitlines()
    assert "place.toml" in sentence
    assert sentence.endswith(".")
    assert not [
        word for word in ("regex", "$", "`str`", "Struct", "object", "codec", "ge/", "secret") if word in sentence
    ]
    with pytest.raises(error):
        _ = Place(folder).trust


def test_bytes_that_are_no_text_and_pins_that_are_none_are_refused(tmp_path: Path, trust: Trust) -> None:
    place = made(tmp_path / "mine", trust)
    (place.folder / "trust.json").write_bytes(b"{}")
    with pytest.raises(Malformed):
        _ = place.trust
    (place.folder / "trust.json").write_bytes(b" " * 2_000_000)
    with pytest.raises(TooLarge):
        _ = place.trust
    (place.folder / "trust.json").unlink()
    with pytest.raises(NotFound, match=r"trust\.json"):
        _ = place.trust
    (place.folder / "place.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Malformed, match=r"place\.toml"):
        _ = Place(place.folder).settings


@pytest.mark.parametrize(("content", "error"), [(None, NotFound), (b"no certificate", Malformed)])
def test_a_file_of_authorities_that_is_none_is_named(
    tmp_path: Path, trust: Trust, content: bytes | None, error: type[MusubiError]
) -> None:
    place = made(tmp_path / "mine", trust)
    (place.folder / "place.toml").write_text(f'service = "{URL}"\nalias = "bus_co"\nca_file = "ca.pem"\n')
    if content is not None:
        (place.folder / "ca.pem").write_bytes(content)
    with pytest.raises(error, match=r"ca\.pem"):
        Place(place.folder).client()


def test_init_makes_a_new_key_or_takes_one_and_prints_the_public_key_last(tmp_path: Path, trust: Trust) -> None:
    for name, owner, given in (
        ("member", ["--as", "bus_co"], "--key"),
        ("resident", ["--resident"], "--seed"),
    ):
        code, out, err = init(tmp_path / name, trust, *owner)
        assert code == 0, err
        place = Place(tmp_path / name)
        assert out.splitlines()[-1] == place.public_key
        assert place.trust == trust
        secret = bytes(place.seed if place.is_resident else place.key)
        assert secret.hex() not in out + err
        write_secret(tmp_path / f"{name}.key", SECRET)
        code, out, _ = init(tmp_path / f"{name}-2", trust, *owner, given, tmp_path / f"{name}.key")
        assert code == 0
        assert out.splitlines()[-1] != place.public_key
        assert (tmp_path / f"{name}.key").exists()


def test_init_says_what_is_wrong_and_leaves_nothing_behind(tmp_path: Path, trust: Trust) -> None:
    for words in (
        [],
        ["--as", "a", "--resident"],
        ["--resident", "--key", __file__],
        ["--as", "a", "--seed", __file__],
    ):
        code, _, err = init(tmp_path / "mine", trust, *words)
        assert code == 2, words
        assert "Error:" in err
    (tmp_path / "ca.pem").write_text("no certificate")
    wrong: list[tuple[list[object], str]] = [
        (["--as", "Bus Co"], "alias"),
        (["--as", "bus_co", "--proxy", "user:secret@proxy"], "proxy"),
        (["--as", "bus_co", "--url", "musubi.example"], "https://"),
        (["--as", "bus_co", "--url", "http://a\x7fb"], "https://"),
        (["--as", "bus_co", "--url", "http://a:abc"], "https://"),
        (["--as", "bus_co", "--ca-file", tmp_path / "ca.pem"], "no certificate"),
    ]
    for bad, said in wrong:
        code, _, err = init(tmp_path / "mine", trust, *bad)
        assert code == KINDS[Malformed].exit_code
        assert said in err
        assert "secret" not in err
        assert list((tmp_path / "mine").glob("*")) == []
    shutil.rmtree(tmp_path / "mine", ignore_errors=True)
    (tmp_path / "pins.json").write_text("{}")
    code, _, _ = musubi(
        "place", "init", "--url", URL, "--pins", tmp_path / "pins.json", "--resident", tmp_path / "mine"
    )
    assert code == KINDS[Malformed].exit_code
    assert not (tmp_path / "mine").exists()


def _killed_at(fsync: int, folder: Path, trust: Trust, authorities: bytes) -> None:
    """Make a place, and be killed at one of its steps that reach the disk."""
    usual, steps = os.fsync, iter(range(fsync))

    def step(descriptor: Any) -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        usual(descriptor)

    os.fsync = step  # type: ignore[assignment]
    make_place(folder, service=URL, trust=trust, secret=SECRET, alias="bus_co", authorities=authorities)


def test_wherever_init_is_killed_a_place_is_there_or_can_be_made_there(tmp_path: Path, trust: Trust) -> None:
    authorities = Authority().pem
    for fsync in range(100):
        folder = tmp_path / str(fsync)
        process = forks.Process(target=_killed_at, args=(fsync, folder, trust, authorities))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        if not (folder / "place.toml").exists():
            with pytest.raises(NotFound, match="musubi place init"):
                _ = Place(folder).settings
            made(folder, trust)
        assert bytes(Place(folder).key) == SECRET
        assert not list(folder.glob(".new-*"))
    assert fsync > 5


def test_remains_beside_anything_else_are_left_alone(tmp_path: Path, trust: Trust) -> None:
    for name in ("photo.jpg", "signing.key"):
        (folder := tmp_path / name).mkdir()
        (folder / name).write_text("mine")
        (folder / ("place.unfinished" if name == "photo.jpg" else "trust.json")).touch()
        with pytest.raises(NotPermitted, match="not empty"):
            made(folder, trust)
        assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("name", [".", "place.toml", "trust.json"])
def test_a_place_that_others_may_change_is_not_used(tmp_path: Path, trust: Trust, name: str) -> None:
    folder = made(tmp_path / "mine", trust).folder
    (folder / name).chmod((folder / name).stat().st_mode | 0o020)
    with pytest.raises(NotPermitted, match="chmod go-w"):
        _ = Place(folder).settings


def test_who_has_lost_a_secret_is_not_told_to_make_another(tmp_path: Path, trust: Trust) -> None:
    for alias, name in (("bus_co", "signing.key"), (None, "seed.key")):
        folder = made(tmp_path / name, trust, alias).folder
        (folder / name).unlink()
        with pytest.raises(NotFound, match="bring your copy of it back"):
            _ = Place(folder).public_key
    folder = made(tmp_path / "nameless", trust).folder
    (folder / "place.toml").write_text(f'service = "{URL}"\n')
    with pytest.raises(Malformed, match="alias ="):
        _ = Place(folder).public_key


def test_a_place_signs_for_nobody_but_its_owner(tmp_path: Path, trust: Trust) -> None:
    everyone = Path(__file__).parents[1] / "towns" / "pair" / "policies" / "everyone.toml"
    code, _, err = musubi(
        "policy", "sign", everyone, "--place", made(tmp_path / "a", trust).folder, "--steward", "city"
    )
    assert code == 2
    assert "--key" in err


def test_a_place_is_found_by_option_then_environment_then_the_current_folder(
    tmp_path: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    for alias in ("one", "two", "three"):
        made(tmp_path / alias, trust, alias=alias)
    (tmp_path / "p.toml").write_bytes(
        (Path(__file__).parents[1] / "towns" / "pair" / "policies" / "everyone.toml").read_bytes()
    )
    monkeypatch.delenv("MUSUBI_PLACE", raising=False)

    def signed(*words: object, env: dict[str, str] | None = None) -> str:
        code, out, err = musubi("policy", "sign", tmp_path / "p.toml", *words, env=env)
        return out if code == 0 else err

    keys = {"--log": trust.origin, "--key": tmp_path / "one" / "signing.key"}
    named = [word for pair in keys.items() for word in pair]
    by = {alias: signed(*named, "--steward", alias) for alias in ("one", "two", "three")}
    assert len(set(by.values())) == 3
    monkeypatch.chdir(tmp_path)
    assert "--place" in signed()
    monkeypatch.chdir(tmp_path / "three")
    environment = {"MUSUBI_PLACE": str(tmp_path / "two")}
    assert signed() == by["three"]
    assert signed(env=environment) == by["two"]
    assert signed("--place", tmp_path / "one", env=environment) == by["one"]
    assert signed(*named, "--steward", "two") == by["two"]  # a part that is given counts before the place's own


def test_help_needs_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["ask"], ["resident", "show"], ["policy", "publish"], ["erase"], ["place", "show"]):
        assert musubi(*words, "--help", env={"MUSUBI_PLACE": str(tmp_path / "none")})[0] == 0


def test_show_tells_all_but_secrets_also_where_the_service_does_not_answer(tmp_path: Path, trust: Trust) -> None:
    place = make_place(
        tmp_path / "mine",
        service="http://127.0.0.1:1",
        trust=trust,
        secret=SECRET,
        alias="bus_co",
        proxy="http://someone:swordfish@127.0.0.1:1",
    )
    code, out, err = musubi("place", "show", "--place", place.folder)
    assert code == 26
    for part in ("bus_co", trust.origin, place.public_key, "http://127.0.0.1:1"):
        assert part in out
    assert "does not answer" in err
    for secret in (SECRET.hex(), "swordfish"):
        assert secret not in out + err
    code, out, _ = musubi("place", "show", "--place", place.folder, "--json")
    assert code == 26
    assert '"answers":false' in out


def test_saved_pins_are_the_given_ones_byte_for_byte(tmp_path: Path, trust: Trust) -> None:
    place = made(tmp_path / "mine", trust)
    save_trust(trust, tmp_path / "trust.json")
    assert (place.folder / "trust.json").read_bytes() == (tmp_path / "trust.json").read_bytes()
    assert load_trust(place.folder / "trust.json") == trust


def test_witnesses_are_asked_by_the_places_own_way(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(method: str, path: str, _: bytes) -> tuple[int, bytes]:
        asked.append(f"{method} {path}")
        return 200, b""

    async def ask(place: Place) -> int:
        async with place.open_witnesses(10) as client:
            return (await client.get("http://witness.example/checkpoint")).status_code

    with web_server(answer) as proxy:
        trust = LogBuilder().town().trust
        place = make_place(
            tmp_path / "me", service="http://service.example", trust=trust, secret=bytes(32), alias=None, proxy=proxy
        )
        assert asyncio.run(ask(place)) == 200
    assert asked == ["GET http://witness.example/checkpoint"]
