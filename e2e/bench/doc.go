// Package bench measures the real binary beside other programs that move the same bytes, as benchmarks. It exports nothing.
//
// An iteration is a round in which every contestant runs once, one after the other, so that whatever else the machine does
// meets all of them; -benchtime=5x makes five rounds. Each benchmark logs one table: the median of each contestant with the
// least and the most, how its time compares to ballast's in the same round, and the processor time of its process. What moves,
// and the store's data, lie in a file system in memory where there is one, for a disk that is slower than the network measures
// itself; the registry's index is on the disk.
//
//	go test -run '^$' -bench 'Push|Pull' -benchtime 5x -timeout 2h -v ./e2e/bench
//
// BALLAST_BENCH_SIZE is how many bytes move, 2GiB by default; BALLAST_BENCH_DIR the folder that they lie in. A program that
// is not there is reported as missing.
package bench
