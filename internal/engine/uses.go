package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// uses knows in which minute each token was used last. Noting it is part of every request, so it writes nothing: a loop
// takes what is new to the index, every Limits.UseInterval. A crash loses what was noted since.
type uses struct{ byID sync.Map } // id → *use

// use is one token's, in microseconds.
type use struct{ at, stored atomic.Int64 }

// note takes down that a token was used, to the minute. Times go forward only, however requests overtake each other.
func (u *uses) note(id string, now time.Time) {
	held, ok := u.byID.Load(id)
	if !ok {
		held, _ = u.byID.LoadOrStore(id, &use{})
	}
	at := &held.(*use).at
	for micros := now.Truncate(time.Minute).UnixMicro(); ; {
		before := at.Load()
		if micros <= before || at.CompareAndSwap(before, micros) {
			return
		}
	}
}

// of is when a token was used last since the start; zero: not yet.
func (u *uses) of(id string) ballast.Time {
	if held, ok := u.byID.Load(id); ok {
		return ballast.At(time.UnixMicro(held.(*use).at.Load()))
	}
	return ballast.Time{}
}

func (u *uses) forget(id string) { u.byID.Delete(id) }

// fresh are the uses that the index does not know yet, in batches.
func (u *uses) fresh(size int) (batches []map[string]ballast.Time) {
	for id, held := range u.byID.Range {
		at := held.(*use).at.Load()
		if at == held.(*use).stored.Load() {
			continue
		}
		if len(batches) == 0 || len(batches[len(batches)-1]) == size {
			batches = append(batches, map[string]ballast.Time{})
		}
		batches[len(batches)-1][id.(string)] = ballast.At(time.UnixMicro(at))
	}
	return batches
}

// stored takes down that the index knows a batch.
func (u *uses) stored(batch map[string]ballast.Time) {
	for id, at := range batch {
		if held, ok := u.byID.Load(id); ok {
			held.(*use).stored.Store(at.UnixMicro())
		}
	}
}

// storeUses takes to the index when tokens were used.
func (e *Engine) storeUses(ctx context.Context) error {
	for _, batch := range e.uses.fresh(index.MaxUses) {
		if err := e.index.UsedTokens(ctx, batch); err != nil {
			return err
		}
		e.uses.stored(batch)
	}
	return nil
}

// lastUses is storeUses when the engine closes.
func (e *Engine) lastUses() {
	ctx, cancel := context.WithTimeout(context.Background(), lastUsesTimeout)
	defer cancel()
	if err := e.storeUses(ctx); err != nil && !errors.Is(err, index.ErrClosed) {
		e.log.LogAttrs(ctx, slog.LevelWarn, "when tokens were used last is not all stored", slog.Any("error", err))
	}
}

// lastUsesTimeout bounds what a stop waits for it.
const lastUsesTimeout = 2 * time.Second
