"""erasure: keys of records leave the database, grants may lose their resident, erasures and holders' words"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

_Big = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    # No town was deployed with 0001: keys are not carried over.
    op.drop_table('record_keys')
    op.create_table('erasures',
    sa.Column('index', _Big, autoincrement=False, nullable=False),
    sa.Column('entry', _Big, nullable=False),
    sa.Column('approvals', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('index', name=op.f('pk_erasures')),
    comment="Which `erase` entry ended which record; for those that an authority ordered, the stewards' approvals (JSON)."
    )
    op.create_table('erased_words',
    sa.Column('index', _Big, autoincrement=False, nullable=False),
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('token', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('index', 'holder', name=op.f('pk_erased_words')),
    comment="Each holder's signed word that nothing of an erased consent is left at its node."
    )
    with op.batch_alter_table('grants', schema=None) as batch_op:
        batch_op.alter_column('resident', existing_type=_Big, nullable=True)
    with op.batch_alter_table('idempotency', schema=None) as batch_op:
        batch_op.add_column(sa.Column('first', _Big, nullable=True))
        batch_op.add_column(sa.Column('last', _Big, nullable=True))
        batch_op.create_index('ix_idempotency_first_last', ['first', 'last'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('idempotency', schema=None) as batch_op:
        batch_op.drop_index('ix_idempotency_first_last')
        batch_op.drop_column('last')
        batch_op.drop_column('first')
    with op.batch_alter_table('grants', schema=None) as batch_op:
        batch_op.alter_column('resident', existing_type=_Big, nullable=False)
    op.drop_table('erased_words')
    op.drop_table('erasures')
    op.create_table('record_keys',
    sa.Column('index', _Big, autoincrement=False, nullable=False),
    sa.Column('key', sa.LargeBinary(length=32), nullable=False),
    sa.PrimaryKeyConstraint('index', name=op.f('pk_record_keys')),
    )
