"""Chance: the noise of answers has one address, and the pure rooms have none at all."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = {"random", "secrets", "uuid", "tempfile", "nacl.utils", "numpy", "numpy.random", "os", "opendp.prelude"}
"""Modules that give random values; of some, other things are used too."""
DRAWS = {"urandom", "getrandom", "generate", "default_rng", "RandomState", "SystemRandom", "token_bytes", "token_hex"}
"""What gives random values in whatever module: also a new key is one (``SigningKey.generate()``)."""
NOISE, COST = "trust/node/rounds/noise.py", "queries/price/cost.py"


def modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Return every module that is imported, and every name from one as ``module.name``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module} | {f"{node.module}.{each.name}" for each in node.names}
    return found


def test_the_pure_rooms_draw_nothing_at_random() -> None:
    seen = 0
    for name, tree in modules("ledger", "policies", "queries"):
        seen += 1
        allowed = {"opendp.prelude"} if name == COST else set()
        assert not imported(tree) & (SOURCES - allowed), name
        called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not called & DRAWS, name
    assert seen > 40


def test_noise_is_drawn_at_one_address() -> None:
    """One module has the mechanism, to price it; one calls it. Nothing else makes random numbers for an answer."""
    everywhere = dict(modules("ledger", "policies", "queries", "trust"))
    reach = {name for name, tree in everywhere.items() if any(each.startswith("opendp") for each in imported(tree))}
    assert reach == {COST}
    assert {name for name, tree in everywhere.items() if "queries.price.cost.gaussian" in imported(tree)} == {NOISE}
    for name, tree in everywhere.items():
        if name.startswith(("trust/node/", "trust/service/", "trust/partner/")):
            assert not imported(tree) & {"random", "numpy.random", "scipy", "scipy.stats"}, name


def test_the_module_that_prices_noise_never_calls_the_mechanism() -> None:
    """Each ``gaussian(…)`` there is only asked for its ``map``, or handed to a conversion that does so."""
    tree = dict(modules("queries"))[COST]
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "gaussian"]
    assert len(uses) == 2
    for use in uses:
        user = parents[id(use)]
        assert ast.unparse(user).startswith((f"{ast.unparse(use)}.map", "dp.c.make_zCDP_to_approxDP")), ast.unparse(
            user
        )
