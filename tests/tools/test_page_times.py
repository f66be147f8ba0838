"""The times of a page are those of its sections, in order."""

from __future__ import annotations

PAGE = """# Page

Words.

## First

```python
a = 1
```

```python
b = a + 1
```

```text
no code
```

### Second

```python
assert b == 2
```
"""


def test_blocks_stand_under_their_headings_and_share_their_names():
    from tools import page_times

    blocks = page_times.sections(PAGE)
    assert [title for title, _ in blocks] == ["First", "First", "Second"]
    rows = page_times.times(blocks)
    assert list(rows) == ["First", "Second", "all"]
    assert all(seconds >= 0 for row in rows.values() for seconds in row)
