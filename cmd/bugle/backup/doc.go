// Package backup copies what survives of a site into a folder, while the site
// runs or while it does not, and makes a site of that copy again.
//
// # What is copied
//
// In this order, which makes a copy that was taken under load whole:
//
//	inboxes/…          files that wait, are claimed, or were put aside; one that moves
//	                   away meanwhile is in the journal, of which more is copied later
//	keys/…             all keys of the site
//	journal/archive/…  archives of sealed generations, which never change
//	journal/pages      the pages behind the last archive, up to the end of that moment
//	checkpoint         which the site has signed of exactly or less than that
//	MANIFEST           what belongs to the backup, signed with the key of checkpoints
//
// So the copy is a prefix of the history that holds everything that was
// acknowledged before it began. Views are not copied: a site makes them anew.
//
// # A folder
//
//	DIR/BACKUP              which site's backups these are; written first
//	DIR/MANIFEST            the backup; written aside and renamed, last of all
//	DIR/sets/00000003/…     files that change: keys, inboxes, checkpoint
//	DIR/archive/…           archives
//	DIR/pages/…             pages behind an archive; a later run adds to the end
//
// A folder without MANIFEST was never finished, and is no backup. The next run
// into the same folder copies what is not there yet; until its MANIFEST replaces
// the one before, that one's files stay as they are, so that an interrupted run
// costs nothing that was had. What no MANIFEST names is removed afterwards.
//
// The folder holds the site's keys: whoever reads it can act for the site. It is
// made for its owner only, and so are all files in it.
//
// # Restoring
//
// [Restore] checks the whole backup before it writes anything: the manifest's
// signature, the hash of each file, the chain over all pages, the tree made anew,
// the checkpoint. Then it builds the site aside, in a folder of the new one,
// reads it back, and moves it into its place. One that was interrupted is begun
// again, or, if it was at the moving, ended.
//
// FORMAT.md beside this file describes the bytes.
package backup
