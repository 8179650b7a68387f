package mutant

// Mutant is a rule that is broken.
type Mutant int32

// The mutants; None is the engine as it is.
const (
	None         Mutant = iota
	RecordUnread        // Kafka: what the target says that it holds is not read
	NoQuorum            // a driver acts on records that no majority holds

	LogUnsynced       // a batch log of files does not wait for the disk
	LogUnfenced       // and takes records of an older term
	LogUnchecked      // and does not compare checksums
	RaftUnsynced      // the replicated log does not wait for the disk
	RaftUnchecked     // and does not compare checksums
	FileUnsynced      // a small file that counts is not synced before it is renamed
	FolderUnsynced    // names in a folder are not made durable
	RunUnsynced       // a file of state is not synced before a checkpoint names it
	TailUnchecked     // the checksum of its tail is not compared
	PartUnchecked     // the checksums of a checkpoint's parts are not compared
	CollectOneMore    // files of one checkpoint too many are deleted
	StageUnsynced     // a file of output is not synced before its batch is committed
	SinkUnfenced      // the file sink takes output of an older term
	ManifestUnchecked // the checksum of its manifests is not compared

	IDPerAttempt // Kafka: each driver has transactional IDs of its own
	mutants
)

var names = [mutants]string{"none", "record-unread", "no-quorum", "log-unsynced", "log-unfenced", "log-unchecked", "raft-unsynced", "raft-unchecked", "file-unsynced", "folder-unsynced",
	"run-unsynced", "tail-unchecked", "part-unchecked", "collect-one-more", "stage-unsynced", "sink-unfenced", "manifest-unchecked", "id-per-attempt"}

// String is the mutant's name, by which Variable names it.
func (m Mutant) String() string { return names[m] }

// Variable is of the environment: the mutant that a test binary begins with.
const Variable = "SLUICE_MUTANT"
