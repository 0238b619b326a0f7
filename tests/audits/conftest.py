from ..bars import data, judge, make_data, make_judge, make_painter, painter, random_state  # noqa: F401
