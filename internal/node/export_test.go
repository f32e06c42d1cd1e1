package node

// EndRPC has the RPC server end as if its listener had failed.
func (core *Core) EndRPC() { _ = core.cluster.port.RPC().Close() }
