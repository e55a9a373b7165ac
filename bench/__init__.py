"""Side-by-side measurements. ``make bench`` runs :mod:`bench.run`."""
