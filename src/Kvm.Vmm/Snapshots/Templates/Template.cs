using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Snapshots.Lazy;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Templates;

/// <summary>
/// A snapshot in memory that any number of machines begin from: one sealed file, which each of them maps, so that they share what none of them has written. Each
/// page of it was verified when it was filled, and cannot change since. Immutable; any thread.
/// </summary>
public sealed class Template : IMemorySource, IDisposable
{
    private const int LengthSize = 4;

    private readonly SealedFile _file;
    private readonly TemplateHead _head;
    private readonly long[] _offsets;

    private Template(SealedFile file, TemplateHead head, int headBytes)
    {
        (_file, _head, _offsets) = (file, head, OffsetsOf(head.Regions, headBytes, out long end));
        if (end > file.Length)
            throw new VmmException(RestoreErrors.BadState, "a template's file is shorter than its memory");
    }

    /// <summary>The name of the snapshot it is of.</summary>
    public string Name => _head.Name;

    /// <summary>That one's identity.</summary>
    public string Identity => _head.Identity;

    /// <summary>Configuration, records and disks.</summary>
    public SnapshotContent Content => _head.Content;

    /// <summary>Bytes of memory.</summary>
    public ulong MemoryBytes => _head.Regions.Aggregate(0UL, (sum, region) => sum + region.Length);

    /// <summary>The file, to be given to other processes.</summary>
    internal FdHandle File => _file.Handle;

    /// <summary>Reads and verifies a whole snapshot.</summary>
    /// <param name="reader">The snapshot; stays the caller's.</param>
    /// <param name="threads">Threads that unpack, at least 1.</param>
    /// <exception cref="VmmException">It is damaged or cannot be read, or the host has no memory for it.</exception>
    public static Template Make(SnapshotReader reader, int threads)
    {
        ArgumentNullException.ThrowIfNull(reader);
        if (!reader.Regions.All(StoredMemory.IsMemory))
            throw new VmmException(RestoreErrors.Lacking, $"{reader.Name} has disks in it, which are no memory");
        var head = new TemplateHead(reader.Name, reader.Identity, reader.Content, reader.Regions);
        byte[] bytes = head.Write();
        byte[] length = new byte[LengthSize];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        long[] offsets = OffsetsOf(head.Regions, bytes.Length, out long end);
        SealedFile? file = null;
        try
        {
            file = SealedFile.Create($"kvmsharp-{reader.Name}", end);
            file.Write(0, length);
            file.Write(LengthSize, bytes);
            reader.ReadAll((region, chunk, content) =>
            {
                if (content.ContainsAnyExcept((byte)0))
                    file.Write(offsets[region] + (chunk * SnapshotFormat.ChunkSize), content);
            }, threads);
            file.Seal();
            return new Template(file, head, bytes.Length);
        }
        catch (KvmException e)
        {
            file?.Dispose();
            throw new VmmException(HostErrors.NoMemory, $"a template of {end >> 20} MiB: {e.Message}", e);
        }
        catch
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>Takes over the file of a template that another process made.</summary>
    /// <exception cref="VmmException">It is none, or not sealed.</exception>
    internal static Template Open(FdHandle handle)
    {
        SealedFile file;
        try
        {
            file = SealedFile.Open(handle);
        }
        catch (KvmException e)
        {
            throw new VmmException(RestoreErrors.BadState, $"a template's file: {e.Message}", e);
        }

        try
        {
            Span<byte> length = stackalloc byte[LengthSize];
            if (file.TryRead(0, length) && BinaryPrimitives.ReadInt32LittleEndian(length) is > 0 and <= TemplateHead.MostBytes and var count && count <= file.Length)
            {
                byte[] bytes = new byte[count];
                if (file.TryRead(LengthSize, bytes) && TemplateHead.Read(bytes) is { } head)
                    return new Template(file, head, count);
            }

            throw new VmmException(RestoreErrors.BadState, "a template's file is none");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <inheritdoc/>
    HostMapping? IMemorySource.Map(AddressRange range)
    {
        for (int i = 0; i < _offsets.Length; i++)
        {
            if (_head.Regions[i].Start == range.Start && _head.Regions[i].Length == range.Size)
                return HostMapping.CopyOf(_file, _offsets[i], (nuint)range.Size);
        }

        throw new VmmException(RestoreErrors.Lacking, $"lacking: memory from {range.Start:x} to {range.Start + range.Size:x}");
    }

    /// <inheritdoc/>
    PagedMemory? IMemorySource.Begin(RamMapping ram, VmConfig config, Action<string>? notice)
    {
        // What other processes are to share with this machine is no part of what it shares with other machines.
        if (config.SharedMemory)
            Fill(ram.Memory);
        return null;
    }

    /// <inheritdoc/>
    public void Fill(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        byte[] buffer = new byte[SnapshotFormat.ChunkSize];
        for (int i = 0; i < _offsets.Length; i++)
        {
            var region = _head.Regions[i];
            for (long chunk = 0; chunk < region.ChunkCount; chunk++)
            {
                var content = buffer.AsSpan(0, region.ChunkLength(chunk));
                ulong offset = (ulong)chunk * SnapshotFormat.ChunkSize;
                if (!_file.TryRead(_offsets[i] + (long)offset, content) || (content.ContainsAnyExcept((byte)0) && !memory.TryWrite(region.Start + offset, content)))
                    throw new VmmException(RestoreErrors.Lacking, $"lacking: memory at {region.Start + offset:x}");
            }
        }
    }

    private static long[] OffsetsOf(IReadOnlyList<SnapshotRegion> regions, int headBytes, out long end)
    {
        var offsets = new long[regions.Count];
        end = LengthSize + headBytes;
        for (int i = 0; i < offsets.Length; i++)
        {
            offsets[i] = (end + TemplateHead.Alignment - 1) / TemplateHead.Alignment * TemplateHead.Alignment;
            // Ends of regions are 2^52 at most, and there are 256: no sum of them overflows.
            end = offsets[i] + (long)regions[i].Length;
        }

        return offsets;
    }
}
