"""faiss beside benches/vectors.rs: 4-bit product quantisation with fast scan,
ten times as many candidates as hits compared exactly. One thread.

Prints how long building took; then, for each line on its input, recall of ten,
p50, p99 and mean of the queries in microseconds.
"""

import sys
import time

import faiss
import numpy

rows, queries, truth, dimension = sys.argv[1:5]
dimension = int(dimension)
faiss.omp_set_num_threads(1)
rows = numpy.fromfile(rows, dtype="<f4").reshape(-1, dimension)
queries = numpy.fromfile(queries, dtype="<f4").reshape(-1, dimension)
truth = numpy.fromfile(truth, dtype="<i8").reshape(len(queries), -1)
k = truth.shape[1]
faiss.normalize_L2(rows)
faiss.normalize_L2(queries)

start = time.time()
codes = faiss.IndexPQFastScan(dimension, dimension // 4, 4)
index = faiss.IndexRefineFlat(codes)
index.k_factor = 10
index.train(rows)
index.add(rows)
print(f"{time.time() - start:.2f} s", flush=True)

for _ in sys.stdin:
    times, found = [], 0
    for at in range(len(queries)):
        start = time.perf_counter()
        _, hits = index.search(queries[at : at + 1], k)
        times.append(time.perf_counter() - start)
        found += len(set(hits[0]) & set(truth[at]))
    times = numpy.array(times) * 1e6
    p50, p99 = numpy.percentile(times, [50, 99])
    print(found / truth.size, p50, p99, times.mean(), flush=True)
