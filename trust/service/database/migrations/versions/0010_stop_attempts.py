"""stops that identity providers signed, for a day: by these they are limited"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'stop_attempts',
        sa.Column('nonce', sa.String(64), primary_key=True),
        sa.Column('provider', sa.String(32), nullable=False),
        sa.Column('subject_sha256', sa.LargeBinary(32), nullable=False),
        sa.Column('at', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
        comment='Every stop that an identity provider signed in the last day, also those refused: by these it is limited.',
    )
    op.create_index('ix_stop_attempts_provider_at', 'stop_attempts', ['provider', 'at'])
    op.create_index('ix_stop_attempts_subject_at', 'stop_attempts', ['subject_sha256', 'at'])


def downgrade() -> None:
    op.drop_table('stop_attempts')
