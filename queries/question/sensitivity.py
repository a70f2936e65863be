"""How far one resident can move a primitive: squared L2 sensitivities, exact and whole, for each shape of a primitive.

**Setting** (the same for every claim). Two data sets are neighbours when they differ in all rows of one resident at
one holder: present in one, absent in the other. Bounding comes first and does not look at the question: each holder
keeps at most R = ``rows_per_resident`` rows of each resident, by a keyed rule that looks at that resident alone, so the
kept rows of everybody else are the same in both data sets. Filters (on the clipped values) and grouping then look at
one row at a time. A row falls in at most one cell, because the cells of ``queries.question.plan`` are the points of a
public key domain.

So for every primitive the difference of the two vectors is the contribution of at most R rows of one resident, and
``squared_sensitivity`` bounds its squared L2 norm. Rows of one resident may all fall in the same cell; nothing in
bounding forbids it, so none of the bounds below is sqrt(R), except where it is written why.

A resident who is at several of a view's holders is a neighbour at each of them; that is priced in
``queries.price.pricing`` (the charge counts every holder), not here.

Which claim a measure rests on, and that its precondition is met, is said in the measure's class
(``queries.question.measures``).
"""


def squared_by_rows(rows_per_resident: int, largest: int = 1) -> int:
    """Return (R ``largest``) squared: for a primitive to which each row adds one number.

    Precondition: at most R rows of the resident, each in at most one cell (and in at most one bin of it, if the
    primitive has bins), and there it adds a number of size at most ``largest``. Claim: the L2 distance is at most
    R ``largest``. Proof: each row adds a vector with at most one number that is not zero, of norm at most ``largest``;
    the triangle inequality over R rows. Reached when all R rows add the largest in one cell. Zero where ``largest`` is
    0: the primitive is then always 0.
    """
    return (rows_per_resident * largest) ** 2


def squared_by_cells(rows_per_resident: int, cells: int) -> int:
    """Return min(R, cells): for a primitive that counts a resident once in each cell where a row of theirs is.

    Precondition: at most R rows of the resident, each in at most one cell, counted *distinct* in each cell.
    Claim: the squared L2 distance is at most min(R, cells). Proof: the difference has a 1 in each cell that holds a
    row of the resident and 0 elsewhere; at most R cells hold one, and there are only ``cells``; the squared norm is
    the number of ones. Here sqrt(R) is right, because distinct counting itself allows at most 1 per cell.
    """
    return min(rows_per_resident, cells)
