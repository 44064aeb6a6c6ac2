package s3dev

import "golang.org/x/sys/unix"

// childSyncs: one syncfs covers data, attributes and folders of every object at once, so the child need not flush each.
const childSyncs = false

func (s *Server) syncFolders() error {
	for _, f := range s.folders {
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return err
		}
	}
	return nil
}
