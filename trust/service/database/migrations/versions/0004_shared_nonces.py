"""nonces of signed messages, where several processes serve one ledger"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_Big = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('nonces',
    sa.Column('nonce', sa.String(length=64), nullable=False),
    sa.Column('at', _Big, nullable=False),
    sa.PrimaryKeyConstraint('nonce', name=op.f('pk_nonces')),
    comment='Nonces of the last minutes, where several processes serve one ledger: each message is good once.'
    )


def downgrade() -> None:
    op.drop_table('nonces')
