"""Every option of a library that is set is set by decision: one table says why, and which test is hostile to it.

Libraries are made to be convenient: they fetch what is missing, follow where they are sent, guess what was meant. What
is called with a keyword, or set by a statement, and is not in the table, fails; so does a row that nothing uses.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ledger import canonical
from policies.consents.attestation import Enrolment
from policies.ledger_state import State
from trust.node.data.snapshots import TypedColumn
from trust.node.sources.duckdb_engine import engine_settings

ROOT = Path(__file__).parents[2]
TREES = [
    (path, ast.parse(path.read_text("utf-8")))
    for room in ("ledger", "policies", "queries", "trust")
    for path in sorted((ROOT / room).rglob("*.py"))
]
LIBRARIES = {
    "asyncpg",
    "click",
    "csv",
    "duckdb",
    "granian",
    "httpx",
    "ibis",
    "msgspec",
    "openpyxl",
    "pyarrow",
    "sqlglot",
}


class Decision(NamedTuple):
    """Why an option is set, and the test that would fail if it did not do what it is for."""

    why: str
    hostile: str


ENGINE = "tests/node/data/test_engine_settings.py::"
WIRE = "tests/runtime/test_wire_options.py::"
CLI = "tests/cli/test_cli.py::"
CANONICAL = "tests/ledger/test_canonical_json.py::"
FETCHES = ENGINE + "test_no_extension_is_fetched_or_loaded_by_a_statement_that_would_need_it"
SHUT_IN = ENGINE + "test_once_shut_in_it_reads_writes_and_attaches_in_one_folder_alone"
FAIR = "tests/node/data/test_bounding.py::test_each_row_and_each_pair_of_rows_is_kept_as_often_as_in_a_draw"
IN_ORDER = "tests/runtime/test_serving.py::test_a_stop_tells_those_who_wait_and_then_ends_everything_in_order"
BURST = WIRE + "test_whoever_comes_in_a_burst_is_answered"
HELD = "tests/service/strangers/test_holding.py::test_health_a_revocation_and_a_nodes_poll_go_through_while_strangers_hold_what_they_can"
HEAD = WIRE + "test_the_head_of_a_request_that_never_ends_is_not_waited_for"
UPGRADES = WIRE + "test_nobody_leaves_http_for_another_protocol_of_their_choice"
UNLOGGED = WIRE + "test_no_request_is_in_a_log_of_the_server_below"
ONE_FORM = CANONICAL + "test_bytes_that_are_not_the_one_form_are_malformed"
OTHER_SPELLING = CANONICAL + "test_another_spelling_of_the_same_document_is_malformed"
OWN = "tests/house/test_library_options.py::"
UNCHANGED = OWN + "test_what_was_read_is_neither_changed_nor_mixed_up_nor_shared"
WORDS = CLI + "test_every_option_says_what_it_is_for"
USED_WRONGLY = CLI + "test_a_command_used_wrongly_ends_with_code_2"
LIGHT = "tests/cli/test_light_start.py::"
NO_GUESS = CLI + "test_nothing_is_agreed_to_that_was_not_said_where_nobody_can_be_asked"
ON_A_TERMINAL = CLI + "test_on_a_terminal_the_notice_is_shown_and_each_choice_is_asked_for"
NO_PLACE = CLI + "test_who_names_no_place_is_told_which_option_is_missing"
NO_FOLDER = CLI + "test_a_place_that_cannot_be_written_ends_in_one_sentence"
SQL = "tests/queries/test_queries_sql.py::"
DATABASES = "tests/node/sources/test_database_files.py::"
XLSX = "tests/node/sources/test_xlsx_files.py::"
POSTGRESQL = "tests/node/sources/test_postgresql_source.py::"
MAPPED = "tests/node/sources/test_mapped_files.py::test_a_csv_file_is_read_as_what_it_means"
BLOCKS = "tests/node/sources/test_csv_blocks.py::test_of_any_bytes_the_quick_reader_makes_what_the_careful_one_makes"
WORDS_STAY = "tests/node/sources/test_csv_blocks.py::test_words_that_other_programs_write_for_nothing_are_text"
ELSEWHERE = "tests/node/engines/test_views_elsewhere.py::"
SAME_ELSEWHERE = ELSEWHERE + "test_every_answer_of_a_life_is_the_same_where_postgresql_bounds"
NOTHING_LEFT = ELSEWHERE + "test_nothing_of_a_view_is_left_in_postgresql_its_log_or_its_files"
FORM = "tests/node/sources/test_readers.py::test_each_form_is_read_as_what_it_is_and_others_are_null"

DECIDED: dict[tuple[str, str], Decision] = {
    # The engine of a holder's node
    ("duckdb", "temp_directory"): Decision(
        "What does not fit into memory goes where the node removes it, not into a shared folder.",
        ENGINE + "test_it_spills_into_its_own_folder",
    ),
    ("duckdb", "allow_community_extensions"): Decision(
        "Nobody else's code runs beside rows.", ENGINE + "test_no_communitys_extension_is_installed"
    ),
    ("duckdb", "autoinstall_known_extensions"): Decision("A node calls nobody but its service.", FETCHES),
    ("duckdb", "autoload_known_extensions"): Decision("A file's name or type chooses no code.", FETCHES),
    ("duckdb", "python_enable_replacements"): Decision(
        "A name in a statement is a table or nothing.", ENGINE + "test_no_variable_of_this_program_is_a_table"
    ),
    ("duckdb", "enable_external_file_cache"): Decision(
        "It trusts a file's time in seconds; a file replaced within one would be read half old.",
        ENGINE + "test_a_file_that_is_replaced_within_a_second_by_one_of_its_size_is_read_anew",
    ),
    ("duckdb", "allowed_directories"): Decision("An engine reads and writes in the node's own folder.", SHUT_IN),
    ("duckdb", "enable_external_access"): Decision("Nor anywhere else, whatever it is told; it is final.", SHUT_IN),
    ("duckdb", "preserve_insertion_order"): Decision(
        "Loading takes less memory; which rows are kept does not hang on their order.",
        "tests/node/data/test_bounding.py::test_the_engine_computes_the_priority_in_whole_numbers_as_python_does",
    ),
    ("duckdb", "threads"): Decision(
        "Rows come back from the look-up of their customers in the order in which they were asked about.",
        "tests/node/data/test_linked_rows.py::test_many_rows_come_back_in_the_order_of_the_file",
    ),
    ("duckdb", "disabled_optimizers"): Decision(
        "The table of a join is made of the links, whose number is known, and not of a file's rows.",
        "tests/node/data/test_linked_rows.py::test_many_rows_come_back_in_the_order_of_the_file",
    ),
    ("duckdb.connect", "config"): Decision("All of the above, from the first statement on.", FETCHES),
    ("ibis.duckdb.connect", "**"): Decision("All of the above, from the first statement on.", FETCHES),
    ("ibis.cases", "else_"): Decision(
        "What is out of range is null, never the last case.",
        "tests/node/sources/test_kinds.py::test_each_value_is_read_by_itself_whatever_stands_beside_it",
    ),
    ("ibis.window", "group_by"): Decision("One person's rows compete with that person's alone.", FAIR),
    ("ibis.window", "order_by"): Decision("By a keyed permutation: a file's order decides nothing.", FAIR),
    ("csv.reader", "strict"): Decision(
        "What breaks its quoting refuses the file, for it could be part of somebody else's record.",
        "tests/node/sources/test_csv_files.py::test_one_persons_line_leaves_everybody_elses_rows_as_they_were_or_the_file_is_refused",
    ),
    ("pyarrow.table", "schema"): Decision(
        "Columns of CSV are text; nothing is guessed from values.",
        "tests/node/sources/test_csv_files.py::test_what_a_sound_program_writes_is_read_as_it_was",
    ),
    ("pyarrow.table", "names"): Decision(
        "Columns are named by their place, whatever the header has twice.",
        "tests/node/sources/test_parquet_files.py::test_an_odd_value_or_column_takes_out_no_more_than_itself",
    ),
    ("csv.reader", "delimiter"): Decision("As the holder's mapping says; one of four.", MAPPED),
    ("csv.reader", "quotechar"): Decision("As the holder's mapping says; one of two.", MAPPED),
    ("pyarrow.csv.ReadOptions", "block_size"): Decision(
        "A block is one for Arrow too; no record is on two of its own.",
        "tests/node/sources/test_csv_blocks.py::test_a_record_longer_than_arrows_own_blocks_is_read_with_its_neighbours",
    ),
    ("pyarrow.csv.ReadOptions", "column_names"): Decision("No record of a block is taken for a header.", BLOCKS),
    ("pyarrow.csv.ParseOptions", "delimiter"): Decision("As the holder's mapping says; one of four.", BLOCKS),
    ("pyarrow.csv.ParseOptions", "quote_char"): Decision("As the mapping says; none where a block has none.", BLOCKS),
    ("pyarrow.csv.ParseOptions", "newlines_in_values"): Decision("A field in quotes may hold lines.", BLOCKS),
    ("pyarrow.csv.ConvertOptions", "include_columns"): Decision("What no view names is not read.", BLOCKS),
    ("pyarrow.csv.ConvertOptions", "column_types"): Decision("All is text: nothing is guessed from values.", BLOCKS),
    ("pyarrow.csv.ConvertOptions", "null_values"): Decision("Empty is null, and no word (NA, null) is.", WORDS_STAY),
    ("pyarrow.csv.ConvertOptions", "strings_can_be_null"): Decision("Empty is null in text too.", BLOCKS),
    ("pyarrow.array", "mask"): Decision(
        "A time that is none is null, whatever number stands for it.",
        "tests/node/sources/test_readers.py::test_each_value_is_read_by_itself_and_none_raises",
    ),
    ("pyarrow.compute.utf8_normalize", "form"): Decision("Full-width digits are digits (NFKC).", FORM),
    ("pyarrow.compute.utf8_trim", "characters"): Decision("The ideographic space is a blank too.", FORM),
    ("pyarrow.compute.utf8_lpad", "padding"): Decision("What software took off were zeros.", FORM),
    # A holder's own databases and workbooks
    ("pyarrow.timestamp", "tz"): Decision(
        "A moment that says its zone is in UTC, and says so to a reader.",
        POSTGRESQL + "test_each_type_is_read_by_its_rule_or_is_null_and_takes_nothing_with_it",
    ),
    ("duckdb.connect", "read_only"): Decision(
        "A holder's database is read and never written, and opened beside other readers.",
        DATABASES + "test_reading_leaves_a_database_file_and_its_folder_as_they_were",
    ),
    ("openpyxl.load_workbook", "read_only"): Decision(
        "Row by row: a sheet may have 17 thousand million cells.",
        XLSX + "test_a_cell_in_the_last_place_of_a_sheet_costs_no_more_than_itself",
    ),
    ("openpyxl.load_workbook", "data_only"): Decision(
        "A formula is its last result, and none is computed or shown.", XLSX + "test_each_cell_is_read_by_its_rule_and_by_itself"
    ),
    ("asyncpg.connect", "timeout"): Decision(
        "Nobody waits for ever.", POSTGRESQL + "test_a_server_that_never_answers_is_not_waited_for_for_ever"
    ),
    ("asyncpg.connect", "server_settings"): Decision(
        "Days, times and names are read in one way, and rows that the server hides are an error.",
        POSTGRESQL + "test_rows_that_are_hidden_from_the_nodes_user_refuse_the_table",
    ),
    # Engines outside the node
    ("ibis.to_sql", "dialect"): Decision("Each engine is spoken to in its own words.", SAME_ELSEWHERE),
    ("ibis.table", "name"): Decision("A statement names tables, and brings no value.", NOTHING_LEFT),
    ("pyarrow.record_batch", "schema"): Decision(
        "What comes back is whole numbers of the width that was asked for, or is no view.", SAME_ELSEWHERE
    ),
    # Whom we call
    ("httpx.Client", "base_url"): Decision(
        "Paths are ours; the host is the place's.",
        "tests/client/test_http_calls.py::test_an_address_that_is_none_is_malformed",
    ),
    ("httpx.Client", "timeout"): Decision(
        "Nobody waits for ever.", WIRE + "test_a_server_that_never_answers_is_not_waited_for_for_ever"
    ),
    ("httpx.Client", "proxy"): Decision(
        "The place's own way out of an office.",
        "tests/cli/test_from_elsewhere.py::test_without_the_authority_or_the_proxy_a_sentence_says_what_is_missing",
    ),
    ("httpx.Client", "mounts"): Decision(
        "Behind a proxy, 127.0.0.1 is somebody else's machine.",
        "tests/runtime/test_proxies_and_this_machine.py::"
        "test_either_client_reaches_a_server_here_and_another_one_by_the_proxy_alone",
    ),
    ("httpx.Client", "verify"): Decision(
        "The system's authorities, or the office's own alone.",
        WIRE + "test_a_server_that_nobody_vouches_for_is_not_spoken_to",
    ),
    ("httpx.Client", "follow_redirects"): Decision(
        "Whoever is meant to answer answers where they were asked.",
        WIRE + "test_a_redirect_is_an_answer_and_takes_nobody_elsewhere",
    ),
    # Who calls us
    ("granian.server.embed.Server", "address"): Decision(
        "The one that the settings name.", "tests/runtime/test_serving.py::test_a_taken_port_and_a_failing_start_are_said"
    ),
    ("granian.server.embed.Server", "port"): Decision(
        "The one that the settings name.", "tests/runtime/test_serving.py::test_a_taken_port_and_a_failing_start_are_said"
    ),
    ("granian.server.embed.Server", "interface"): Decision("Litestar's; a guess could take another.", IN_ORDER),
    ("granian.server.embed.Server", "http"): Decision("HTTP/1.1 alone: a proxy in front speaks the others.", UPGRADES),
    ("granian.server.embed.Server", "websockets"): Decision("Nothing here speaks them.", UPGRADES),
    ("granian.server.embed.Server", "backlog"): Decision(
        "A burst waits in the kernel, not in memory.", BURST
    ),
    ("granian.server.embed.Server", "http1_settings"): Decision(
        "A head of a request that never ends is not waited for.", HEAD
    ),
    ("granian.server.embed.Server", "backpressure"): Decision(
        "So many connections at once, and no more.", BURST
    ),
    ("granian.http.HTTP1Settings", "max_buffer_size"): Decision(
        "Little is read ahead of a connection: many strangers' would be much.", HELD
    ),
    ("granian.http.HTTP1Settings", "header_read_timeout"): Decision(
        "A head of a request that never ends is not waited for (milliseconds).", HEAD
    ),
    ("granian.server.embed.Server", "log_level"): Decision("Its own words are for failures.", UNLOGGED),
    ("granian.server.embed.Server", "log_dictconfig"): Decision("To standard error, as ours.", UNLOGGED),
    ("granian.server.embed.Server", "log_access"): Decision("No address, path or token is in a log.", UNLOGGED),
    # What is read
    ("sqlglot.tokenize", "read"): Decision(
        "One dialect: the one that computes.", SQL + "test_any_shuffle_of_sql_words_is_a_question_or_is_refused"
    ),
    ("sqlglot.parse", "read"): Decision(
        "One dialect: the one that computes.", SQL + "test_any_text_is_a_question_or_is_refused"
    ),
    ("msgspec.Struct", "frozen"): Decision("What was checked stays as it was checked.", UNCHANGED),
    ("msgspec.Struct", "kw_only"): Decision("Two fields of one type are never mixed up.", UNCHANGED),
    ("msgspec.Struct", "forbid_unknown_fields"): Decision("Nobody signs what we do not read.", ONE_FORM),
    ("msgspec.Struct", "omit_defaults"): Decision("One form: a default is never written.", OTHER_SPELLING),
    ("msgspec.Struct", "rename"): Decision("Fields have the formats' names, not Python's.", OTHER_SPELLING),
    ("msgspec.Struct", "tag"): Decision("What a document is, it says; no shape is guessed.", ONE_FORM),
    ("msgspec.Struct", "tag_field"): Decision("Where it says so.", ONE_FORM),
    ("msgspec.Struct", "array_like"): Decision(
        "Between a service and its own workers, smaller; never in what is signed.",
        "tests/service/test_odd_requests.py::test_a_worker_that_is_killed_is_said_and_leaves_no_trace",
    ),
    ("msgspec.Struct", "eq"): Decision(
        "A place is itself, whoever else holds as much.",
        "tests/runtime/test_bounds.py::test_in_a_full_lane_whoever_waits_longest_for_its_body_makes_room",
    ),
    ("msgspec.Struct", "order"): Decision("Tiles and sizes are compared by value.", UNCHANGED),
    ("msgspec.field", "name"): Decision("A field has the format's name, not Python's.", OTHER_SPELLING),
    ("msgspec.field", "default"): Decision("A field that may be left out says so.", OTHER_SPELLING),
    ("msgspec.field", "default_factory"): Decision("No two documents share a list.", UNCHANGED),
    ("msgspec.json.decode", "type"): Decision("Nothing is read as whatever it looks like.", ONE_FORM),
    ("msgspec.toml.decode", "type"): Decision(
        "Nothing is read as whatever it looks like.",
        "tests/client/test_places.py::test_settings_that_are_none_are_refused_in_a_sentence_before_anything_else_is_read",
    ),
    ("msgspec.msgpack.decode", "type"): Decision("Nothing is read as whatever it looks like.", ONE_FORM),
    ("msgspec.json.Encoder", "order"): Decision(
        "One form: keys in RFC 8785's order.", CANONICAL + "test_our_bytes_are_those_of_the_rfc8785_package"
    ),
    ("msgspec.json.schema_components", "ref_template"): Decision(
        "Where OpenAPI has its schemas.",
        "tests/service/openapi/test_document.py::test_every_field_of_raw_json_and_every_signed_text_has_its_row",
    ),
    # What people type
    ("click.option", "help"): Decision("Words for people.", WORDS),
    ("click.option", "metavar"): Decision("Words for people.", WORDS),
    ("click.argument", "metavar"): Decision("Words for people.", WORDS),
    ("click.option", "show_default"): Decision("What happens unasked is said.", WORDS),
    ("click.option", "type"): Decision("What is no number, day or folder is refused before anything begins.", USED_WRONGLY),
    ("click.argument", "type"): Decision("As of options.", USED_WRONGLY),
    ("click.option", "is_flag"): Decision("It takes no value that could be forgotten.", USED_WRONGLY),
    ("click.option", "required"): Decision("What is not said is asked for, not made up.", NO_PLACE),
    ("click.argument", "required"): Decision("As of options.", USED_WRONGLY),
    ("click.option", "default"): Decision("Of what harms nobody alone; a consent has none.", NO_GUESS),
    ("click.option", "multiple"): Decision("Each time it is said counts.", USED_WRONGLY),
    ("click.argument", "nargs"): Decision("Each of them counts.", USED_WRONGLY),
    ("click.option", "envvar"): Decision("One variable, MUSUBI_PLACE, and no other is read.", NO_PLACE),
    ("click.option", "callback"): Decision("The place is opened before the command begins.", NO_PLACE),
    ("click.Path", "path_type"): Decision("A path is a path, not a text.", NO_FOLDER),
    ("click.Path", "file_okay"): Decision("A file is not taken for a folder.", NO_FOLDER),
    ("click.Path", "dir_okay"): Decision("A folder is not taken for a file.", NO_FOLDER),
    ("click.Path", "exists"): Decision("What is not there is said at once.", NO_FOLDER),
    ("click.IntRange", "min"): Decision("There is nothing below.", USED_WRONGLY),
    ("click.group", "name"): Decision("As it is typed.", CLI + "test_all_promised_commands_are_there"),
    ("click.command", "name"): Decision("As it is typed.", CLI + "test_all_promised_commands_are_there"),
    ("click.group", "cls"): Decision(
        "Commands bring what they need when they are used.", LIGHT + "test_version_and_help_import_nothing_heavy"
    ),
    ("click.group", "listed"): Decision("Which those are.", LIGHT + "test_the_short_help_in_the_table_is_the_commands_own"),
    ("click.Group", "commands"): Decision("Which those are.", LIGHT + "test_help_lists_commands_as_click_does"),
    ("click.Command", "help"): Decision("Words for people.", LIGHT + "test_help_lists_commands_as_click_does"),
    ("click.group", "context_settings"): Decision(
        "-h is --help; lines of help are as long as a page.", CLI + "test_every_commands_help_says_what_it_does_with_an_example"
    ),
    ("click.version_option", "package_name"): Decision(
        "The version that is installed.", LIGHT + "test_version_and_help_import_nothing_heavy"
    ),
    ("click.shell_completion.CompletionItem", "help"): Decision(
        "Words for people.", LIGHT + "test_completion_of_a_command_imports_nothing_heavy"
    ),
    ("click.prompt", "type"): Decision("Only what the policy offers is taken.", ON_A_TERMINAL),
    ("click.prompt", "value_proc"): Decision("Only names that are there are taken.", ON_A_TERMINAL),
    ("click.prompt", "default"): Decision("None: an empty line agrees to nothing.", ON_A_TERMINAL),
    ("click.prompt", "err"): Decision("Questions are no part of what is printed for machines.", ON_A_TERMINAL),
    ("click.confirm", "default"): Decision("No is what an empty line says.", ON_A_TERMINAL),
    ("click.confirm", "abort"): Decision("No ends the command.", ON_A_TERMINAL),
    ("click.confirm", "err"): Decision("Questions are no part of what is printed for machines.", ON_A_TERMINAL),
}  # fmt: skip
DECIDED |= {
    ("httpx.AsyncClient", option): decision
    for (call, option), decision in DECIDED.items()
    if call == "httpx.Client" and option != "base_url"
}


def imported(tree: ast.AST) -> dict[str, str]:
    """Return what each name of a module stands for, where it is a library's."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {name: whole for name, whole in names.items() if whole.partition(".")[0] in LIBRARIES}


def options_set() -> Iterator[tuple[str, str]]:
    """Every option that is set: by a keyword of a call or of a message's class, by a statement, for an engine."""
    for _, tree in TREES:
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                first, _, rest = ast.unparse(node.func).partition(".")
                if first in names:
                    call = f"{names[first]}.{rest}".rstrip(".")
                    yield from ((call, keyword.arg or "**") for keyword in node.keywords)
            elif isinstance(node, ast.ClassDef):
                yield from (
                    ("msgspec.Struct", each.arg) for each in node.keywords if each.arg not in {"metaclass", None}
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from (("duckdb", name) for name in re.findall(r"^SET ([a-z_]+) ?=", node.value))
    yield from (("duckdb", name) for name in engine_settings(Path("spill")))


def test_every_option_that_is_set_is_in_the_table_and_every_row_is_used() -> None:
    found = set(options_set()) - VALUES
    assert found - set(DECIDED) == set(), "say why it is set, and which test brings what is hostile to it"
    assert set(DECIDED) - found == set()


VALUES = {("msgspec.structs.replace", option) for _, option in options_set()} | {
    ("msgspec.Meta", option) for option in ("ge", "le", "min_length", "max_length", "pattern")
}
"""Data, and bounds of data: each has its place in a message's own description."""


@pytest.mark.parametrize("row", sorted(DECIDED), ids=":".join)
def test_a_row_names_a_test_that_is_there(row: tuple[str, str]) -> None:
    path, _, name = DECIDED[row].hostile.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
    assert DECIDED[row].why.endswith(".")


def test_what_was_read_is_neither_changed_nor_mixed_up_nor_shared() -> None:
    said = {"kind": "enrolment", "log": "a", "key": "5f" * 32, "attestation_sha256": "00" * 32, "v": 1}
    enrolment = canonical.decode(canonical.encode(said), Enrolment, "enrolment")
    with pytest.raises(AttributeError):
        enrolment.key = "00" * 32  # type: ignore[misc]
    by_place: Any = Enrolment
    with pytest.raises(TypeError):
        by_place(*said.values())
    first, second = State(), State()
    first.once_holders.add("bus_co")
    assert second.once_holders == set()
    assert TypedColumn("a", "b") < TypedColumn("b", "a")
