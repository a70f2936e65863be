"""words on rules: up to which number each holder's node reads them"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'rules_words',
        sa.Column('holder', sa.String(32), primary_key=True),
        sa.Column('token', sa.Text(), nullable=False),
        comment="Each holder's latest signed word on up to which number its node reads the rules.",
    )


def downgrade() -> None:
    op.drop_table('rules_words')
