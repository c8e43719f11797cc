// SPDX-License-Identifier: Apache-2.0

package relay

// Refuses returns the error with which Accept would refuse a message of a source
// now, whatever is in it, nil for none. It costs next to nothing and waits for
// nothing, so that a request can be refused before it has been read and verified.
// What it lets through Accept may still refuse.
func (e *Engine) Refuses(source string, shedLast bool) error {
	s := e.current.Load()
	if s == nil {
		return nil // Accept waits for the store
	}
	if err := s.failure(); err != nil {
		return err
	}
	switch {
	case s.space.full():
		return ErrDiskFull
	case !shedLast && s.committer.queue.crowded.Load():
		return ErrOverloaded
	case s.backlogs.full(source, shedLast):
		return ErrBacklog
	default:
		return nil
	}
}
