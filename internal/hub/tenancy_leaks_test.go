package hub_test

import (
	"context"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

type leakySnapshots struct{ leaky }

func (l leakySnapshots) Snapshot(ctx context.Context, p engine.Principal, ref ballast.Ref) (engine.Snapshot, error) {
	if s, err := l.leaky.Snapshot(ctx, p, ref); err == nil {
		return s, nil
	}
	return l.leaky.Snapshot(ctx, l.all, ref)
}

type leakyModels struct{ leaky }

func (l leakyModels) Model(ctx context.Context, p engine.Principal, scope ballast.Scope, name ballast.Name) (ballast.ModelInfo, error) {
	if m, err := l.leaky.Model(ctx, p, scope, name); err == nil {
		return m, nil
	}
	return l.leaky.Model(ctx, l.all, scope, name)
}

type leakyLists struct{ leaky }

func (l leakyLists) Models(ctx context.Context, _ engine.Principal, list engine.ListModels) (ballast.ModelsPage, error) {
	return l.leaky.Models(ctx, l.all, list)
}
