"""lost keys without times: the revocations of that very second told whose the key was, also after an erasure"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

_Big = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
_BEFORE = 'Keys of devices that were reported lost: never enrolled again.'
_AFTER = f'{_BEFORE} Without a time, which would name their consents.'


def upgrade() -> None:
    op.drop_column('lost_keys', 'at')
    if op.get_bind().dialect.name != 'sqlite':
        op.create_table_comment('lost_keys', _AFTER, existing_comment=_BEFORE)


def downgrade() -> None:
    op.add_column('lost_keys', sa.Column('at', _Big, nullable=False, server_default='0'))
    if op.get_bind().dialect.name != 'sqlite':
        op.create_table_comment('lost_keys', _BEFORE, existing_comment=_AFTER)
