// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"math"

	"github.com/caddy-relay/caddy-relay/relay/store"
)

// DiskLimits say how much of its disk an engine may use.
type DiskLimits struct {
	// MaxUsed bounds the space that the store takes, in bytes; 0 for no bound.
	// Messages that are finished are removed before their time to stay under it.
	MaxUsed int64

	// MinFree is the free space of the volume, in bytes, below which nothing is
	// accepted.
	MinFree int64

	// MinFreePercent is the same as a part of the volume, where MinFree is 0. Default
	// of the two: 5 percent, at least 128 MiB, at most 4 GiB.
	MinFreePercent float64
}

// The default of the free space that is left alone.
const (
	defaultMinFreePercent = 5
	leastMinFree          = 128 << 20
	mostMinFree           = 4 << 30
)

// minFree returns the mark on a volume of that size, in bytes.
func (l *DiskLimits) minFree(volume int64) int64 {
	part := func(percent float64) int64 { return int64(float64(volume) * percent / 100) }
	switch {
	case l.MinFree > 0:
		return l.MinFree
	case l.MinFreePercent > 0:
		return part(l.MinFreePercent)
	default:
		return min(max(part(defaultMinFreePercent), leastMinFree), mostMinFree)
	}
}

// DiskState says how much space there is for messages.
type DiskState uint8

// The states of the disk.
const (
	// DiskAmple says that nothing is to be done.
	DiskAmple DiskState = iota
	// DiskShort says that the end is near: the heads of answers are no longer kept,
	// and finished messages are removed before their time.
	DiskShort
	// DiskFull says that nothing is accepted, while deliveries go on.
	DiskFull
)

var diskStateNames = [...]string{"ample", "short", "full"}

// String returns the name of the state as it is shown everywhere.
func (s DiskState) String() string {
	if int(s) >= len(diskStateNames) {
		return fmt.Sprintf("disk(%d)", uint8(s))
	}
	return diskStateNames[s]
}

// The marks of the used space, in percent of what may be used.
const (
	usedShort  = 90 // finished messages are removed from here on
	usedTarget = 85 // down to this
	usedResume = 97 // what was full accepts again below
)

// diskView is the space as the limits see it, in bytes.
type diskView struct {
	minFree   int64
	free      int64
	used      int64
	max       int64
	knowsFree bool
	ended     bool // the store has met the end of its space
}

func (l *DiskLimits) view(h *store.Health) diskView {
	volume := int64(h.VolumeBytes)
	return diskView{
		minFree: l.minFree(volume), free: int64(h.FreeBytes), used: int64(h.UsedBytes), max: l.MaxUsed,
		knowsFree: volume > 0, ended: h.Full,
	}
}

// margin is how much more than a mark has to be free before a state ends, so that
// it does not come and go.
func (v *diskView) margin() int64 { return min(v.minFree/8, 64<<20) }

// softFree is the free space below which it is short.
func (v *diskView) softFree() int64 { return 2 * v.minFree }

// state returns the state of the disk, which was in another one before.
func (v *diskView) state(was DiskState) DiskState {
	full, short, mark := int64(0), int64(0), v.max
	if was == DiskFull {
		full, mark = v.margin(), v.max/100*usedResume
	}
	if was != DiskAmple {
		short = v.margin()
	}
	switch {
	case v.ended, v.knowsFree && v.free < v.minFree+full, v.max > 0 && v.used >= mark:
		return DiskFull
	case v.knowsFree && v.free < v.softFree()+short, v.max > 0 && v.used >= v.max/100*usedShort:
		return DiskShort
	default:
		return DiskAmple
	}
}

// room returns how many bytes of messages there is space for. Each is written
// twice, to the log first.
func (v *diskView) room() int64 {
	room := int64(math.MaxInt64)
	if v.knowsFree {
		room = min(room, v.free-v.minFree)
	}
	if v.max > 0 {
		room = min(room, v.max-v.used)
	}
	return max(0, room/2)
}

// excess returns how many bytes of finished messages are to be removed before
// their time, 0 for none. Those that are meant to be kept for ever only go where
// a bound was set for the space that is used.
func (v *diskView) excess(forEver bool) int64 {
	var excess int64
	if v.max > 0 && v.used >= v.max/100*usedShort {
		excess = v.used - v.max/100*usedTarget
	}
	if v.knowsFree && !forEver && v.free < v.softFree() {
		excess = max(excess, v.softFree()+v.margin()-v.free)
	}
	return excess
}
