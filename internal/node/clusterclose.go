package node

import "context"

// leave hands over what this node leads.
func (cl *cluster) leave(ctx context.Context) {
	if p := cl.placement.Load(); p != nil {
		if err := p.Leave(ctx); err != nil {
			cl.core.log.Warn("shards could not be handed over; others take them in a moment", "err", err)
		}
	}
}

// closeBefore ends what uses the groups.
func (cl *cluster) closeBefore(ctx context.Context) error {
	cl.closing.Store(true)
	close(cl.done)
	if cl.confirmed != nil {
		cl.confirmed()
	}
	cl.minding.Wait()
	if p := cl.placement.Load(); p != nil {
		p.Close()
	}
	if cl.former != nil {
		cl.former.Close()
	}
	var err error
	if cl.gossip != nil {
		if left := cl.gossip.Leave(ctx); left != nil { // nothing is lost by it
			cl.core.log.Info("no other node was told that this one leaves; they will find it dead", "err", left)
		}
		err = cl.gossip.Close(ctx)
	} else if t := cl.cfg.Gossip.Transport; t != nil {
		err = t.Shutdown()
	}
	if cl.server != nil {
		cl.server.Close(ctx)
		<-cl.served
		cl.peers.Close()
	}
	return err
}

// closePort ends the port, which the groups' transports use.
func (cl *cluster) closePort(ctx context.Context) error {
	if cl.port == nil {
		return nil
	}
	return cl.port.Close(ctx)
}
