package hub

import (
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"github.com/ballast-registry/ballast"
)

// maxPage bounds the items of one page.
const maxPage = 1000

// limit is how many items a page may have.
func (r *request) limit(standard int) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, ballast.Errorf(ballast.CodeInvalid, "limit: write a number of at least 1")
	}
	return min(n, maxPage), nil
}

// next sets the link to the next page: path is escaped, and the query is the request's with another cursor.
func (h *Hub) next(w http.ResponseWriter, r *request, path, cursor string) {
	q := r.URL.Query()
	q.Set("cursor", cursor)
	w.Header().Set(headerLink, fmt.Sprintf(`<%s%s?%s>; rel="next"`, h.base(r), path, q.Encode()))
}

// pageOf takes from a list what begins where the request's cursor says and ends at its limit, and links to what follows.
func pageOf[T any](h *Hub, w http.ResponseWriter, r *request, path string, list iter.Seq[T]) ([]T, error) {
	limit, err := r.limit(maxPage)
	if err != nil {
		return nil, err
	}
	begin := 0
	if text := r.URL.Query().Get("cursor"); text != "" {
		if begin, err = strconv.Atoi(text); err != nil || begin < 0 {
			return nil, errCursor()
		}
	}
	page, at := []T{}, 0
	for item := range list {
		if len(page) == limit {
			h.next(w, r, path, strconv.Itoa(at))
			break
		}
		if at >= begin {
			page = append(page, item)
		}
		at++
	}
	if at < begin {
		return nil, errCursor()
	}
	return page, nil
}

func errCursor() error {
	return ballast.Errorf(ballast.CodeInvalid, "cursor: not one that this list answered")
}
