"""stopped everywhere: statements that cover the ends of consents; indexes for past in-force sets"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

_Big = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_index('ix_grants_policy_ended', 'grants', ['policy_sha256', 'ended_by'], unique=False)
    op.create_index('ix_rounds_policy_admit', 'rounds', ['policy', 'admit'], unique=False)
    op.drop_table('caught_up')  # every node says it again with its next poll
    op.create_table('caught_up',
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('size', _Big, nullable=False),
    sa.Column('heard', _Big, nullable=False),
    sa.PrimaryKeyConstraint('holder', name=op.f('pk_caught_up')),
    comment='The largest tree size that each node has signed it is caught up with, and when it was heard, to the minute.'
    )
    op.create_table('confirmations',
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('size', _Big, autoincrement=False, nullable=False),
    sa.Column('at', _Big, nullable=False),
    sa.Column('member', _Big, nullable=False),
    sa.Column('token', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('holder', 'size', name=op.f('pk_confirmations')),
    comment="A node's signed statements: each that was the first to cover some consent's end. `member` brought its key."
    )


def downgrade() -> None:
    op.drop_table('confirmations')
    op.drop_table('caught_up')
    op.create_table('caught_up',
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('size', _Big, nullable=False),
    sa.Column('at', _Big, nullable=False),
    sa.Column('token', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('holder', name=op.f('pk_caught_up')),
    comment='The largest tree size that each node has signed it is caught up with.'
    )
    op.drop_index('ix_rounds_policy_admit', table_name='rounds')
    op.drop_index('ix_grants_policy_ended', table_name='grants')
