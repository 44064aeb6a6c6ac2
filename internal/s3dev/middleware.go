//go:build !nos3dev

package s3dev

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofiber/fiber/v3"
)

// closeAfterChunked ends the connection after a request whose body came in chunks. The gateway refuses some of them (a
// PUT without a length is 411) and leaves the last chunk unread, which would then be taken for the next request.
func closeAfterChunked(c fiber.Ctx) error {
	err := c.Next()
	if c.Request().Header.ContentLength() == chunked {
		c.Response().Header.SetConnectionClose()
	}
	return err
}

// chunked is fasthttp's content length of a body in chunks.
const chunked = -1

// fsyncWrites makes each written object durable before its answer leaves, where one syncfs cannot do it for all.
func fsyncWrites(objects string) fiber.Handler {
	return func(c fiber.Ctx) error {
		if err := c.Next(); err != nil {
			return err
		}
		if !writesObject(c) {
			return nil
		}
		key, err := url.PathUnescape(c.Path())
		if err != nil {
			return err
		}
		return fsyncUp(objects, filepath.Join(objects, filepath.Clean("/"+key)))
	}
}

// writesObject: a part is no object yet; its bytes are flushed when the object is completed.
func writesObject(c fiber.Ctx) bool {
	method, query := c.Method(), c.Queries()
	_, completes := query["uploadId"]
	_, part := query["partNumber"]
	put := method == fiber.MethodPut && !part
	return c.Response().StatusCode() == fiber.StatusOK && (put || method == fiber.MethodPost && completes)
}

// fsyncUp flushes path and every folder between it and root.
func fsyncUp(root, path string) error {
	for strings.HasPrefix(path, root) {
		if err := fsyncOne(path); err != nil {
			return fmt.Errorf("flushing %q: %w", path, err)
		}
		path = filepath.Dir(path)
	}
	return nil
}

func fsyncOne(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
