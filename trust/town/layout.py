"""Where everything of a town on one machine lies, and laying it out the first time.

::

    DIR/
      town.json                 which town this is, and the ports
      trust.json                what nodes and auditors pin
      service/                  the operator's folder (trust.service.settings)
      nodes/<holder>/           each holder's own folder (trust.node.settings), with its own data and keys
      witness/                  the witness's folder (trust.audit.witness)
      places/<alias>/           the place (trust.client.place) of each steward, partner and identity provider
      residents/<number>/       the places of the first hundred residents
      people/                   who the demo's residents are: for the part that plays residents and counters alone
      logs/                     what each process prints

In a real town these folders lie with different organisations on different machines; nothing here shares a file with
another process, and a node is told nothing of the other holders. Each secret lies in one folder alone, with two
exceptions. A holder that is a partner or identity provider too has its signing key in its node and in its place, which
are two machines in a real town. And the residents' seeds all come from ``people/seeds.key``, so that the demo can play
thousands.
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ledger import entries as e
from ledger.entries import MemberBody
from ledger.errors import Malformed, MusubiError, NotFound, NotPermitted
from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import VerifierKey
from policies.pairwise_keys import public_hex
from policies.rules import FIRST_RULES, NEWEST_RULES
from trust.audit.witness_folder import make_witness
from trust.client.place import Place, make_place
from trust.files.keys import new_key, new_post_quantum_key, read_key, read_secret, write_secret
from trust.log.pins import Trust, pins_of, save_trust
from trust.runtime.clock import system_clock
from trust.town.document import MemberRow, Town
from trust.town.loader import generate, load_town, source_path

WITNESS_NAME = "witness.musubi.example"
HOST = "127.0.0.1"
NO_PAGES: Mapping[str, int] = {}


class TownSettings(Struct, frozen=True, kw_only=True):
    """``town.json``: the town's folder of origin, how many residents it has here, and its ports.

    ``page_ports`` are the holders' own pages'; what an older Musubi laid out has none.
    """

    town: str
    residents: int
    port: int
    witness_port: int
    page_ports: dict[str, int] = {}


class Layout:
    """The folder of one town on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service = folder / "service"
        self.witness = folder / "witness"
        self.people = folder / "people"
        self.logs = folder / "logs"
        self.settled = folder / "settled.txt"

    @property
    def exists(self) -> bool:
        """Whether a town was laid out here."""
        return (self.folder / "town.json").exists()

    @property
    def is_settled(self) -> bool:
        """Whether its residents have been played."""
        return self.settled.exists()

    @property
    def settings(self) -> TownSettings:
        """Read ``town.json``; raise NotFound where there is no town."""
        try:
            return msgspec.json.decode((self.folder / "town.json").read_bytes(), type=TownSettings)
        except FileNotFoundError:
            raise NotFound(f"There is no town in '{self.folder}'; run `musubi up TOWN --dir {self.folder}`.") from None

    @property
    def url(self) -> str:
        """The service's address."""
        return f"http://{HOST}:{self.settings.port}"

    @property
    def town(self) -> Town:
        """Read the town's own folder."""
        return load_town(Path(self.settings.town))

    def node(self, holder: str) -> Path:
        """Return a holder's folder."""
        return self.folder / "nodes" / holder

    def place(self, alias: str) -> Place:
        """Return the place of a steward, partner or identity provider; raises NotFound once read, if there is none."""
        return Place(self.folder / "places" / alias)

    @property
    def has_places(self) -> bool:
        """Whether its members and stewards have places; what an older Musubi laid out has none."""
        return (self.folder / "places").is_dir()

    @property
    def aliases(self) -> list[str]:
        """The stewards, partners and identity providers that have a place here."""
        return sorted(folder.name for folder in (self.folder / "places").iterdir())

    def resident_folder(self, person: int) -> Path:
        """Return where the place of a resident is, if it was laid out."""
        return self.folder / "residents" / str(person)

    def signing_key(self, alias: str) -> SigningKey:
        """Read the signing key of a member or steward: in its place, or in its node's folder if it only holds data."""
        place = self.place(alias)
        if place.is_there or not self.node(alias).exists():
            return place.key
        return read_key(self.node(alias) / "keys" / "node.key")

    def identity(self) -> str:
        """Return the alias of the town's identity provider."""
        return self.town.with_role("identity")[0].alias


def lay_out(
    town: Town,
    folder: Path,
    *,
    residents: int | None,
    port: int,
    witness_port: int,
    rules: int = NEWEST_RULES,
    page_ports: Mapping[str, int] = NO_PAGES,
) -> Layout:
    """Make the data, keys, pins and settings of a town in an empty folder; its ledger begins with these rules.

    ``page_ports`` says where the holders' own pages are to be, by alias; the others' nodes have no local interface.

    Raises NotPermitted where the folder holds something else; Unavailable where the town's data cannot be had. A crash
    leaves a folder without ``town.json``, which nothing takes for a town.
    """
    layout = Layout(folder)
    if folder.exists() and any(folder.iterdir()):
        raise NotPermitted(f"The folder '{folder}' is not empty; choose another one with --dir.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    count = town.residents if residents is None else residents
    data = folder / "generated"
    try:
        generate(town, data, residents)
    except MusubiError:
        shutil.rmtree(data, ignore_errors=True)  # so that the next try finds the folder empty again
        raise
    layout.logs.mkdir()
    stewards = {steward.alias: SigningKey.generate() for steward in town.stewards}
    log_key = new_key(layout.service / "keys" / "log.key")
    log_key_pq = new_post_quantum_key(layout.service / "keys" / "log.pq.key")
    genesis = e.Genesis(
        at=system_clock(),
        origin=town.origin,
        title=town.title,
        log_key=str(VerifierKey.ed25519(town.origin, bytes(log_key.verify_key))),
        log_key_pq=str(VerifierKey.ml_dsa_44(town.origin, public_bytes(log_key_pq))),
        time_zone=town.time_zone,
        stewards=[e.Steward(alias=s.alias, title=s.title, key=public_hex(stewards[s.alias])) for s in town.stewards],
        quorum=town.quorum,
        rules=UNSET if rules == FIRST_RULES else rules,
    )
    witnesses = _lay_out_witness(layout, genesis, witness_port)
    _lay_out_service(layout, town, genesis, witnesses, port)
    trust = pins_of(genesis, witnesses)
    save_trust(trust, folder / "trust.json")
    service = f"http://{HOST}:{port}"
    for alias, key in stewards.items():
        make_place(layout.place(alias).folder, service=service, trust=trust, secret=bytes(key), alias=alias)
    for member in town.members:
        _lay_out_member(layout, member, data, trust, service, page_ports.get(member.alias))
    layout.people.mkdir(mode=0o700)
    write_secret(layout.people / "seeds.key", secrets.token_bytes(32))
    shutil.move(data / "residents.parquet", layout.people / "residents.parquet")
    shutil.rmtree(data)
    settings = TownSettings(
        town=str(town.folder.resolve()),
        residents=count,
        port=port,
        witness_port=witness_port,
        page_ports=dict(page_ports),
    )
    (folder / "town.json").write_bytes(msgspec.json.format(msgspec.json.encode(settings)))
    return layout


def _lay_out_witness(layout: Layout, genesis: e.Genesis, port: int) -> str:
    log_keys = [VerifierKey.parse(genesis.log_key)]
    key, post_quantum = make_witness(layout.witness, WITNESS_NAME, log_keys, post_quantum=True)
    return (
        f"log {genesis.log_key}\n"
        f"witness town {key} http://{HOST}:{port}\nwitness town_pq {post_quantum} http://{HOST}:{port}\n"
        "group town_quorum any town town_pq\nquorum town_quorum\n"
    )


def _lay_out_service(layout: Layout, town: Town, genesis: e.Genesis, witnesses: str, port: int) -> None:
    operator = next(member for member in town.members if "operator" in member.roles)
    new_key(layout.service / "keys" / "operator.key")
    (layout.service / "genesis.json").write_bytes(e.encode(genesis) + b"\n")
    (layout.service / "witnesses.txt").write_text(witnesses, "utf-8")
    (layout.service / "service.toml").write_text(
        f"origin = {json.dumps(town.origin)}\noperator = {json.dumps(operator.alias)}\n"
        f'host = "{HOST}"\nport = {port}\n',
        "utf-8",
    )


def _lay_out_member(
    layout: Layout, member: MemberRow, data: Path, trust: Trust, service: str, page_port: int | None
) -> None:
    if "operator" in member.roles:
        return  # its key is in its own folder
    key, sealing = bytes(SigningKey.generate()), bytes(PrivateKey.generate())
    if {"partner", "identity"} & set(member.roles):
        make_place(layout.place(member.alias).folder, service=service, trust=trust, secret=key, alias=member.alias)
    if "holder" not in member.roles:
        write_secret(layout.place(member.alias).folder / "sealing.key", sealing)
        return
    node = layout.node(member.alias)
    write_secret(node / "keys" / "node.key", key)
    write_secret(node / "keys" / "rows.key", secrets.token_bytes(32))
    write_secret(node / "keys" / "link.key", secrets.token_bytes(32))
    write_secret(node / "keys" / "sealing.key", sealing)
    (node / "data").mkdir()
    lines = [f"alias = {json.dumps(member.alias)}", f"service = {json.dumps(service)}", "", "[sources]"]
    for source in member.sources:
        made = source_path(data, member.alias, source)
        shutil.move(made, node / "data" / made.name)
        lines.append(f'{source} = "data/{made.name}"')
    if page_port is not None:
        lines += ["", "[local]", f"port = {page_port}"]
    (node / "node.toml").write_text("\n".join(lines) + "\n", "utf-8")
    save_trust(trust, node / "trust.json")


def member_bodies(layout: Layout, town: Town) -> list[MemberBody]:
    """Return the members as the stewards will sign them, with their public keys."""
    bodies = []
    for member in town.members:
        if "operator" in member.roles:
            key = read_key(layout.service / "keys" / "operator.key")
            sealing = PrivateKey.generate().public_key  # nothing is ever sealed to the operator
        else:
            key = layout.signing_key(member.alias)
            at_node = layout.node(member.alias) / "keys"
            folder = at_node if "holder" in member.roles else layout.place(member.alias).folder
            sealing = PrivateKey(read_secret(folder / "sealing.key")).public_key
        bodies.append(
            MemberBody(
                alias=member.alias,
                number=1,
                status="active",
                roles=sorted(member.roles),
                title=member.title,
                key=public_hex(key),
                sealing_key=bytes(sealing).hex(),
            )
        )
    if not bodies:
        raise Malformed("The town has no members.")
    return bodies
