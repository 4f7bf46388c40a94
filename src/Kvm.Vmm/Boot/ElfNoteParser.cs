using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Kvm.Vmm.Boot;

/// <summary>Reads PT_NOTE segments (System V gABI, "Note Section") for the few notes that a loader wants.</summary>
internal static class ElfNoteParser
{
    /// <summary>Bytes of notes looked at in one image, all segments together. Linux has about a hundred.</summary>
    internal const int MaxNoteBytes = 64 << 10;

    private const int NoteHeader = 12;
    private const uint XenGuestOs = 6;
    private const uint XenPhys32Entry = 18;

    /// <summary>Reads one segment; returns the bytes it took of the budget.</summary>
    /// <param name="file">The image.</param>
    /// <param name="segment">The PT_NOTE program header, not yet checked.</param>
    /// <param name="headerOffset">Where that header is, for messages.</param>
    /// <param name="align8">True if p_align is 8: names and descriptors are then padded to 8 bytes instead of 4.</param>
    /// <param name="budget">Bytes left of <see cref="MaxNoteBytes"/>.</param>
    /// <param name="notes">Receives what is found.</param>
    internal static int Parse(ImageSource file, ElfSegment segment, ulong headerOffset, bool align8, int budget, ElfNotes notes)
    {
        if (segment.FileSize > (ulong)budget)
        {
            throw LoadException.At(LoadErrors.BadHeader, file, $"p_filesz of note segment {segment.Index}", headerOffset,
                $"0x{segment.FileSize:x} bytes of notes are more than the {MaxNoteBytes >> 10} KiB a kernel may have");
        }

        int size = (int)segment.FileSize;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(Math.Max(size, 1));
        try
        {
            file.Read(segment.FileOffset, buffer.AsSpan(0, size), $"note segment {segment.Index}");
            Walk(file, buffer.AsSpan(0, size), segment.FileOffset, align8 ? 8 : 4, notes);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        return size;
    }

    private static void Walk(ImageSource file, ReadOnlySpan<byte> all, ulong fileOffset, int align, ElfNotes notes)
    {
        int at = 0;
        while (all.Length - at >= NoteHeader) // every note moves on by at least its header: the walk ends
        {
            var note = all[at..];
            uint nameSize = BinaryPrimitives.ReadUInt32LittleEndian(note);
            uint descSize = BinaryPrimitives.ReadUInt32LittleEndian(note[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(note[8..]);
            long descAt = AlignUp(NoteHeader + (long)nameSize, align);
            if (nameSize > note.Length - NoteHeader || descAt > note.Length || descSize > note.Length - descAt)
            {
                throw LoadException.At(LoadErrors.BadHeader, file, "note", fileOffset + (ulong)at,
                    $"a name of {nameSize} and a description of {descSize} bytes do not fit into the {note.Length} bytes left");
            }

            var name = note.Slice(NoteHeader, (int)nameSize).TrimEnd((byte)0);
            Take(name, type, note.Slice((int)descAt, (int)descSize), fileOffset + (ulong)at, notes);
            long next = AlignUp(descAt + descSize, align);
            at = (int)Math.Min(all.Length, at + next);
        }
    }

    private static void Take(ReadOnlySpan<byte> name, uint type, ReadOnlySpan<byte> desc, ulong offset, ElfNotes notes)
    {
        if (name.SequenceEqual("Linux"u8))
        {
            notes.IsLinux = true;
        }
        else if (name.SequenceEqual("Xen"u8) && type == XenPhys32Entry && desc.Length is 4 or 8)
        {
            // A word as wide as the image's pointers (elfnote.h); a 64-bit one is of a 32-bit address.
            notes.PvhEntry = desc.Length == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(desc) : BinaryPrimitives.ReadUInt64LittleEndian(desc);
            notes.PvhEntryOffset = offset;
        }
        else if (name.SequenceEqual("Xen"u8) && type == XenGuestOs && desc.Length <= 64)
        {
            notes.GuestOs = Encoding.ASCII.GetString(desc.TrimEnd((byte)0));
            notes.IsLinux |= notes.GuestOs.Equals("linux", StringComparison.OrdinalIgnoreCase);
        }
    }

    private static long AlignUp(long value, int align) => (value + (align - 1)) & ~(long)(align - 1);
}
