package storage

// Metrics are figures of the store, for the node's /metrics. Counters count
// since Open.
type Metrics struct {
	DiskBytes           uint64 // all files, but for what was just added to the newest
	WALBytes            uint64 // write-ahead log that is in use
	MemTableBytes       uint64 // in memory, not yet flushed
	CacheBytes          uint64 // in memory, read from disk
	CacheHits           int64
	CacheMisses         int64
	Flushes             int64
	Compactions         int64
	CompactionDebtBytes uint64 // estimate of what is to be compacted
	Ingests             uint64 // snapshots installed
	L0Files             int64  // flushed files not yet compacted
	ReadAmplification   int    // files that a read may have to look at
	WALBytesWritten     uint64
}

// Metrics returns the figures of this moment.
func (db *DB) Metrics() Metrics {
	m := db.pdb.Metrics()
	return Metrics{
		DiskBytes:           m.DiskSpaceUsage(),
		WALBytes:            m.WAL.Size,
		MemTableBytes:       m.MemTable.Size,
		CacheBytes:          uint64(max(m.BlockCache.Size, 0)),
		CacheHits:           m.BlockCache.Hits,
		CacheMisses:         m.BlockCache.Misses,
		Flushes:             m.Flush.Count,
		Compactions:         m.Compact.Count,
		CompactionDebtBytes: m.Compact.EstimatedDebt,
		Ingests:             m.Ingest.Count,
		L0Files:             m.Levels[0].TablesCount,
		ReadAmplification:   m.ReadAmp(),
		WALBytesWritten:     m.WAL.BytesWritten,
	}
}
