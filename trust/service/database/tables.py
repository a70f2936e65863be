"""The tables. Entries are the truth; all the rest can be told from them, or is what the ledger only commits to.

Who may read the store learns: which service key belongs to which grants, and each bundle if they also have the records'
keys, which lie in a file of their own (``trust.service.keys.record_keys``). No customer number, no name and no answer
that is not public ever stands here.

Of an erased consent there remain: its row in ``grants`` without the resident, which says only what the ledger says, and
a row in ``erasures`` with the holders' countersignatures, which name nobody.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Big = BigInteger().with_variant(Integer, "sqlite")

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", _Big, nullable=False),
    Column("at", _Big, nullable=False),
    comment="One row: the next index and the last time. Locked while entries are appended.",
)

published = Table(
    "published",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", _Big, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    comment="One row: the last checkpoint that the sequencer published, by compare-and-swap on its size.",
)

entries = Table(
    "entries",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

residents = Table(
    "residents",
    metadata,
    Column("id", _Big, primary_key=True, autoincrement=True),
    Column("key", LargeBinary(32), nullable=False, unique=True),
    Column("provider", String(32), nullable=False),
    Column("subject_sha256", LargeBinary(32), nullable=False),
    Column("level", String(16), nullable=False),
    Column("date", String(10), nullable=False),
    UniqueConstraint("provider", "subject_sha256"),
    comment="Enrolled residents: the key at the service and the hash of the provider's own pairwise subject.",
)

lost_keys = Table(
    "lost_keys",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),
    comment="Keys of devices that were reported lost: never enrolled again. Without a time, which would name their consents.",
)

grants = Table(
    "grants",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("consent", LargeBinary(32), nullable=False, unique=True),
    Column("policy_sha256", LargeBinary(32), nullable=False),
    Column("resident", _Big, ForeignKey("residents.id"), nullable=True, index=True),
    Column("ended_by", _Big, nullable=True),
)
Index("ix_grants_policy_index", grants.c.policy_sha256, grants.c.index)
Index("ix_grants_policy_ended", grants.c.policy_sha256, grants.c.ended_by)

records = Table(
    "records",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    comment="The bundle behind a grant or revocation, encrypted with a key of its own.",
)

stop_attempts = Table(
    "stop_attempts",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("provider", String(32), nullable=False),
    Column("subject_sha256", LargeBinary(32), nullable=False),
    Column("at", _Big, nullable=False),
    comment="Every stop that an identity provider signed in the last day, also those refused: by these it is limited.",
)
Index("ix_stop_attempts_provider_at", stop_attempts.c.provider, stop_attempts.c.at)
Index("ix_stop_attempts_subject_at", stop_attempts.c.subject_sha256, stop_attempts.c.at)

erasures = Table(
    "erasures",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("entry", _Big, nullable=False),
    Column("approvals", Text, nullable=True),
    comment="Which `erase` entry ended which record; for those that an authority ordered, the stewards' approvals (JSON).",
)
Index("ix_erasures_entry", erasures.c.entry)

erased_words = Table(
    "erased_words",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("holder", String(32), primary_key=True),
    Column("token", Text, nullable=False),
    comment="Each holder's signed word that nothing of an erased consent is left at its node.",
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("request_sha256", LargeBinary(32), nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", _Big, nullable=False),
    Column("first", _Big, nullable=True),
    Column("last", _Big, nullable=True),
    comment="`first` and `last` are the consents that a grant's answer names: it goes when one of them is erased.",
)
Index("ix_idempotency_first_last", idempotency.c.first, idempotency.c.last)

rounds = Table(
    "rounds",
    metadata,
    Column("admit", _Big, primary_key=True, autoincrement=False),
    Column("query_sha256", LargeBinary(32), nullable=False, index=True),
    Column("by", String(32), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("asked_to_stop", Boolean, nullable=False),
    Column("closed_by", _Big, nullable=True),
    Column("closed_at", _Big, nullable=True),
    Column("released", Boolean, nullable=False),
    Column("lost", Boolean, nullable=False, server_default=false()),
)
Index("ix_rounds_open", rounds.c.closed_by)
Index("ix_rounds_policy_admit", rounds.c.policy, rounds.c.admit)

messages = Table(
    "messages",
    metadata,
    Column("admit", _Big, primary_key=True, autoincrement=False),
    Column("holder", String(32), primary_key=True),
    Column("step", String(16), primary_key=True),
    Column("token", Text, nullable=False),
    comment="What each participant said in a round: countersign, share or word. One of each, for ever.",
)

refusals = Table(
    "refusals",
    metadata,
    Column("index", _Big, primary_key=True, autoincrement=False),
    Column("by", String(32), nullable=False),
    Column("day", String(10), nullable=False),
)
Index("ix_refusals_by_day", refusals.c.by, refusals.c.day)

caught_up = Table(
    "caught_up",
    metadata,
    Column("holder", String(32), primary_key=True),
    Column("size", _Big, nullable=False),
    Column("heard", _Big, nullable=False),
    comment="The largest tree size that each node has signed it is caught up with, and when it was heard, to the minute.",
)

confirmations = Table(
    "confirmations",
    metadata,
    Column("holder", String(32), primary_key=True),
    Column("size", _Big, primary_key=True, autoincrement=False),
    Column("at", _Big, nullable=False),
    Column("member", _Big, nullable=False),
    Column("token", Text, nullable=False),
    comment="A node's signed statements: each that was the first to cover some consent's end. `member` brought its key.",
)

rules_words = Table(
    "rules_words",
    metadata,
    Column("holder", String(32), primary_key=True),
    Column("token", Text, nullable=False),
    comment="Each holder's latest signed word on up to which number its node reads the rules.",
)

not_ready = Table(
    "not_ready",
    metadata,
    Column("holder", String(32), primary_key=True),
    Column("views", Text, nullable=False),
    comment="The views that a holder's node has said it has no data for yet (JSON). No row: none, or never heard.",
)

nonces = Table(
    "nonces",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("at", _Big, nullable=False),
    comment="Nonces of the last minutes, where several processes serve one ledger: each message is good once.",
)
