using System.Buffers.Binary;
using Kvm.Interop;

namespace Kvm.Vmm.Agent;

/// <summary>A file, folder or link of a tree that is copied, as it goes over the wire.</summary>
/// <param name="Entry">What it is.</param>
/// <param name="Name">Its name, a single one.</param>
/// <param name="Target">What a link says; empty for others.</param>
internal readonly record struct AgentNode(FolderEntry Entry, ReadOnlyMemory<byte> Name, ReadOnlyMemory<byte> Target)
{
    private const int HeadBytes = 24;

    /// <summary>Understands a payload; null where it is none, or where the name would leave its folder.</summary>
    public static AgentNode? Parse(ReadOnlyMemory<byte> payload)
    {
        var bytes = payload.Span;
        if (bytes.Length < HeadBytes)
            return null;
        var kind = bytes[0] switch { 1 => FolderEntryKind.File, 2 => FolderEntryKind.Folder, 3 => FolderEntryKind.Link, _ => FolderEntryKind.Other };
        uint nanoseconds = BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]), length = BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]);
        if (kind == FolderEntryKind.Other || nanoseconds > 999_999_999 || length > bytes.Length - HeadBytes)
            return null;
        var name = payload.Slice(HeadBytes, (int)length);
        var target = payload[(HeadBytes + (int)length)..];
        bool isLink = kind == FolderEntryKind.Link;
        if (!FolderHandle.IsName(name.Span) || (isLink ? target.Length is 0 or > FolderHandle.MostTarget : !target.IsEmpty) || target.Span.Contains((byte)0))
            return null;
        return new AgentNode(new FolderEntry(kind, BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]), BinaryPrimitives.ReadInt64LittleEndian(bytes[8..]), nanoseconds), name, target);
    }

    /// <summary>As a payload.</summary>
    public byte[] ToPayload()
    {
        byte[] payload = new byte[HeadBytes + Name.Length + Target.Length];
        payload[0] = Entry.Kind switch { FolderEntryKind.File => 1, FolderEntryKind.Folder => 2, _ => 3 };
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), Entry.Mode);
        BinaryPrimitives.WriteInt64LittleEndian(payload.AsSpan(8), Entry.Seconds);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(16), Entry.Nanoseconds);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(20), (uint)Name.Length);
        Name.CopyTo(payload.AsMemory(HeadBytes));
        Target.CopyTo(payload.AsMemory(HeadBytes + Name.Length));
        return payload;
    }
}
