"""The table of the two files of benches/web/scrape.py, without load and with it: compare.py FREE LOADED"""

import collections
import sys


def read(path):
    values = collections.defaultdict(list)
    with open(path) as lines:
        for line in lines:
            name, value = line.split()
            values[name].append(float(value))
    return values


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


free, loaded = read(sys.argv[1]), read(sys.argv[2])
print(f"{'':24}{'free':>10}{'loaded':>10}{'ratio':>8}")
for encoding in ("identity", "gzip"):
    for name, share in (("median", 0.5), ("p99", 0.99)):
        one, other = percentile(free[encoding], share), percentile(loaded[encoding], share)
        print(f"{encoding + ', ' + name:24}{one:>7.2f} ms{other:>7.2f} ms{other / one:>8.2f}")
# The first value is from before any load.
print(f"{'resident memory':24}{free['resident'][0]:>6.1f} MiB{max(loaded['resident']):>6.1f} MiB")
print(f"{'peak of it':24}{free['peak'][0]:>6.1f} MiB{max(loaded['peak']):>6.1f} MiB")
