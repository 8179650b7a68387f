package batch

// FileUse says where the files of a store's rows have come from since the store
// was opened: from a folder of the machine, where they survive a crash, or from a
// storage that other machines see, too.
type FileUse struct {
	Local       int64 // files that the folder had when they were opened
	LocalBytes  int64 // of those
	Remote      int64 // files that were opened in the storage
	RemoteBytes int64 // of those
	Fetched     int64 // bytes of files that were copied from the storage whole
	Ranges      int64 // bytes that were read from the storage piece by piece
	Damaged     int64 // files of the folder that were found damaged, and are the storage's since
	Evicted     int64 // files that the folder had no room for any more
}

// Add returns the sum of both.
func (u FileUse) Add(v FileUse) FileUse {
	u.Local += v.Local
	u.LocalBytes += v.LocalBytes
	u.Remote += v.Remote
	u.RemoteBytes += v.RemoteBytes
	u.Fetched += v.Fetched
	u.Ranges += v.Ranges
	u.Damaged += v.Damaged
	u.Evicted += v.Evicted
	return u
}
