"""keys of lost devices, which are never enrolled again"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_Big = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('lost_keys',
    sa.Column('key', sa.LargeBinary(length=32), nullable=False),
    sa.Column('at', _Big, nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_lost_keys')),
    comment='Keys of devices that were reported lost: never enrolled again.'
    )


def downgrade() -> None:
    op.drop_table('lost_keys')
