package indextest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast/internal/index"
)

const (
	historyClients = 16
	historySteps   = 25 // of each client
	historyKeys    = 4
)

// historyState is the value of every key.
type historyState [historyKeys]int

// historyStep is one transaction: it reads, and adds to the keys as add says. One with fail set returns an error after
// that, and so must have no effect.
type historyStep struct {
	update, fail bool
	one          int // key to read; below 0 all are read
	add          historyState
}

// historyModel says what a store with serializable transactions may answer.
func historyModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return historyState{} },
		Step: func(state, input, output any) (bool, any) {
			now, step, saw := state.(historyState), input.(historyStep), output.(historyState)
			if step.one >= 0 && now[step.one] != saw[step.one] || step.one < 0 && now != saw {
				return false, state
			}
			if step.update && !step.fail {
				now = now.plus(step.add)
			}
			return true, now
		},
	}
}

func (s historyState) plus(add historyState) historyState {
	for i, n := range add {
		s[i] += n
	}
	return s
}

// checkHistory runs random transactions of concurrent clients and looks for an order that explains all answers, in
// which each takes effect between its call and its return.
func checkHistory(ctx context.Context, s index.Store) error {
	begin := time.Now()
	histories := make([][]porcupine.Operation, historyClients)
	var group errgroup.Group
	for client := range histories {
		random := rand.New(rand.NewPCG(1, uint64(client)))
		group.Go(func() error {
			for range historySteps {
				step := randomStep(random)
				call := time.Since(begin)
				saw, err := step.run(ctx, s)
				if err != nil {
					return err
				}
				histories[client] = append(histories[client], porcupine.Operation{
					ClientId: client, Input: step, Output: saw, Call: int64(call), Return: int64(time.Since(begin)),
				})
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var all []porcupine.Operation
	for _, h := range histories {
		all = append(all, h...)
	}
	if result := porcupine.CheckOperationsTimeout(historyModel(), all, time.Minute); result != porcupine.Ok {
		return fmt.Errorf("%d transactions of %d clients: linearizable: %s", len(all), historyClients, result)
	}
	return nil
}

func randomStep(random *rand.Rand) historyStep {
	step := historyStep{update: random.IntN(3) > 0, fail: random.IntN(6) == 0, one: random.IntN(2*historyKeys) - historyKeys}
	step.add[random.IntN(historyKeys)]++
	step.add[random.IntN(historyKeys)] += 10
	return step
}

func (step historyStep) run(ctx context.Context, s index.Store) (saw historyState, err error) {
	if !step.update {
		err = s.View(ctx, func(tx index.Tx) error {
			saw, err = step.read(tx)
			return err
		})
		return saw, err
	}
	err = s.Update(ctx, func(tx index.Tx) error {
		if saw, err = step.read(tx); err != nil {
			return err
		}
		for i, n := range step.add {
			if err := step.put(tx, i, n); err != nil {
				return err
			}
		}
		if step.fail {
			return errOwn
		}
		return nil
	})
	if step.fail && errors.Is(err, errOwn) {
		err = nil
	}
	return saw, err
}

func (step historyStep) put(tx index.Tx, i, add int) error {
	if add == 0 {
		return nil
	}
	n, err := counter(tx, strconv.Itoa(i))
	if err != nil {
		return err
	}
	runtime.Gosched()
	return tx.Put([]byte(strconv.Itoa(i)), strconv.AppendInt(nil, int64(n+add), 10))
}

func (step historyStep) read(tx index.Tx) (saw historyState, err error) {
	if step.one >= 0 {
		saw[step.one], err = counter(tx, strconv.Itoa(step.one))
		return saw, err
	}
	for item, err := range tx.Scan(nil, nil, false) {
		if err != nil {
			return saw, err
		}
		i, errKey := strconv.Atoi(string(item.Key))
		n, errValue := strconv.Atoi(string(item.Value))
		if err := errors.Join(errKey, errValue); err != nil {
			return saw, err
		}
		saw[i] = n
	}
	return saw, nil
}
