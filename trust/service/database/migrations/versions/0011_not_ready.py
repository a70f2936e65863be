"""not ready: which views each holder's node has no data for yet"""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'not_ready',
        sa.Column('holder', sa.String(32), primary_key=True),
        sa.Column('views', sa.Text(), nullable=False),
        comment='The views that a holder\'s node has said it has no data for yet (JSON). No row: none, or never heard.',
    )


def downgrade() -> None:
    op.drop_table('not_ready')
