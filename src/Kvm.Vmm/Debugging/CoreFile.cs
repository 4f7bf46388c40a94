using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.X86.State;

namespace Kvm.Vmm.Debugging;

/// <summary>
/// A machine's memory and registers as an ELF core file, which gdb and crash read: a note with the registers of each vCPU (NT_PRSTATUS), and guest-physical memory
/// at its addresses. What is zeros is a hole of the file.
/// </summary>
internal static class CoreFile
{
    private const int HeaderSize = 64, ProgramHeaderSize = 56, NoteHeaderSize = 20, StatusSize = 336, RegistersAt = 112, ProcessAt = 32;
    private const int Chunk = 1 << 20;
    private const int Es = 0, Cs = 1, Ss = 2, Ds = 3, Fs = 4, Gs = 5;

    /// <summary>Writes it beside the path first: there is never half a file of that name.</summary>
    /// <param name="path">The file; replaced where it is there. Only its owner may read it.</param>
    /// <param name="memory">Memory that nobody changes meanwhile.</param>
    /// <param name="vcpus">The registers of each vCPU.</param>
    /// <exception cref="IOException">It cannot be written; nothing of it is left.</exception>
    public static void Write(string path, GuestMemory memory, IReadOnlyList<ArchitecturalState> vcpus)
    {
        string part = path + ".part";
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite, BufferSize = 0 };
            using (var file = new FileStream(part, options))
                Write(file, memory, vcpus);
            File.Move(part, path, overwrite: true);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }

    private static void Write(FileStream file, GuestMemory memory, IReadOnlyList<ArchitecturalState> vcpus)
    {
        List<GuestRegion> regions = [];
        foreach (ref readonly var region in memory.Regions)
        {
            if (!region.ReadOnly)
                regions.Add(region);
        }

        int notes = vcpus.Count * (NoteHeaderSize + StatusSize), heads = HeaderSize + ProgramHeaderSize * (1 + regions.Count);
        byte[] head = new byte[heads + notes];
        WriteHeader(head, 1 + regions.Count);
        long at = (head.Length + 4095L) & ~4095L;
        WriteSegment(head.AsSpan(HeaderSize), type: 4, heads, 0, (ulong)notes);
        for (int i = 0; i < regions.Count; i++)
        {
            WriteSegment(head.AsSpan(HeaderSize + ProgramHeaderSize * (1 + i)), type: 1, at, regions[i].Start, regions[i].Size);
            WriteMemory(file, at, memory, regions[i]);
            at += (long)regions[i].Size;
        }

        for (int i = 0; i < vcpus.Count; i++)
            WriteNote(head.AsSpan(heads + i * (NoteHeaderSize + StatusSize)), i, vcpus[i]);
        RandomAccess.Write(file.SafeFileHandle, head, 0);
        file.SetLength(at);
        file.Flush(flushToDisk: true);
    }

    private static void WriteHeader(Span<byte> head, int segments)
    {
        ReadOnlySpan<byte> identity = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        identity.CopyTo(head);
        BinaryPrimitives.WriteUInt16LittleEndian(head[16..], 4); // ET_CORE
        BinaryPrimitives.WriteUInt16LittleEndian(head[18..], 62); // EM_X86_64
        BinaryPrimitives.WriteUInt32LittleEndian(head[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(head[32..], HeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(head[52..], HeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(head[54..], ProgramHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(head[56..], (ushort)segments);
    }

    private static void WriteSegment(Span<byte> to, uint type, long offset, ulong address, ulong size)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(to, type);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], type == 1 ? 7u : 0);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], (ulong)offset);
        BinaryPrimitives.WriteUInt64LittleEndian(to[16..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(to[24..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(to[32..], size);
        BinaryPrimitives.WriteUInt64LittleEndian(to[40..], size);
    }

    private static void WriteMemory(FileStream file, long at, GuestMemory memory, GuestRegion region)
    {
        for (ulong offset = 0; offset < region.Size; offset += Chunk)
        {
            int length = (int)Math.Min(Chunk, region.Size - offset);
            if (memory.TryReadOnlySlice(region.Start + offset, length, out var bytes) && bytes.ContainsAnyExcept((byte)0))
                RandomAccess.Write(file.SafeFileHandle, bytes, at + (long)offset);
        }
    }

    /// <summary>Linux's <c>struct elf_prstatus</c> of x86-64 (<c>include/linux/elfcore.h</c>), in which only the number and the registers mean something.</summary>
    private static void WriteNote(Span<byte> to, int index, ArchitecturalState state)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(to, 5); // "CORE" and its end
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], StatusSize);
        BinaryPrimitives.WriteUInt32LittleEndian(to[8..], 1); // NT_PRSTATUS
        "CORE"u8.CopyTo(to[12..]);
        var status = to[NoteHeaderSize..];
        BinaryPrimitives.WriteInt32LittleEndian(status[ProcessAt..], index + 1);
        // struct user_regs_struct: general registers by their encoding, then what is not one of those.
        ReadOnlySpan<int> order = [15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7];
        var registers = status[RegistersAt..];
        for (int i = 0; i < order.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(registers[(8 * i)..], state.Gpr[order[i]]);
        var segments = state.Segments;
        ReadOnlySpan<ulong> rest =
        [
            ulong.MaxValue, state.Rip, segments[Cs].Selector, state.Rflags, state.Gpr[4], segments[Ss].Selector, segments[Fs].Base, segments[Gs].Base,
            segments[Ds].Selector, segments[Es].Selector, segments[Fs].Selector, segments[Gs].Selector,
        ];
        for (int i = 0; i < rest.Length; i++)
            BinaryPrimitives.WriteUInt64LittleEndian(registers[(8 * (order.Length + i))..], rest[i]);
    }
}
