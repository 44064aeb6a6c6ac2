package hub

import (
	"fmt"
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

// pageOf cuts a list where the request's cursor begins and its limit ends, and links to what follows.
func pageOf[T any](h *Hub, w http.ResponseWriter, r *request, path string, list []T) ([]T, error) {
	limit, err := r.limit(maxPage)
	if err != nil {
		return nil, err
	}
	begin := 0
	if text := r.URL.Query().Get("cursor"); text != "" {
		if begin, err = strconv.Atoi(text); err != nil || begin < 0 || begin > len(list) {
			return nil, ballast.Errorf(ballast.CodeInvalid, "cursor: not one that this list answered")
		}
	}
	end := min(begin+limit, len(list))
	if end < len(list) {
		h.next(w, r, path, strconv.Itoa(end))
	}
	return append([]T{}, list[begin:end]...), nil
}
