"""How one gauge is made of those of several processes; the rules are in metric.py."""

# Value and stamp.
Cell = tuple[float, float]


def combined(rule: str, cells: list[Cell], now: float) -> Cell:
    """Return value and stamp of one gauge made of those of several processes."""
    if rule == "age":
        cells = [(max(0.0, now - value) if value else 0.0, stamp) for value, stamp in cells]
    elif rule == "overdue":
        cells = [(float(bool(value) and now > value), stamp) for value, stamp in cells]
    return reduced(rule, cells)


def reduced(rule: str, cells: list[Cell]) -> Cell:
    """Return value and stamp of one gauge made of numbers that mean the same."""
    if len(cells) == 1:
        return cells[0]
    if rule == "sum":
        return sum([value for value, _ in cells]), 0.0
    if rule == "min":
        return min(cells)
    if rule == "latest":
        return max(cells, key=lambda cell: cell[1])
    return max(cells)
