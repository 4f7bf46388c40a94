using System.Buffers.Binary;
using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>The kinds of frames (docs/agent-protocol.md).</summary>
internal enum AgentFrame : byte
{
    Hello = 1,
    Ping,
    Clock,
    Shutdown,
    Exec = 16,
    Input,
    InputEnd,
    Signal,
    Resize,
    Credit,
    Started,
    Output,
    Errors,
    Exited,
    Put = 32,
    Get,
    Node,
    Data,
    FileEnd,
    FolderEnd,
    TreeEnd,
    Skipped,
    Done = 64,
    Failed,
}

/// <summary>What goes between host and agent, version 1 (docs/agent-protocol.md): numbers, and payloads both ways. Integers are little-endian.</summary>
internal static class AgentProtocol
{
    public const uint Port = 5200;
    public const ushort Version = 1;

    /// <summary>Length of the payload (4 bytes), kind, three zeros.</summary>
    public const int HeaderBytes = 8;

    /// <summary>Header and payload together are the largest packet of a guest's socket.</summary>
    public const int MostPayload = (64 << 10) - HeaderBytes;

    /// <summary>Words of a command, and variables, at most.</summary>
    public const int MostWords = 4096;

    /// <summary>Bytes of a path with the zero behind it (Linux's PATH_MAX).</summary>
    private const int MostPath = 4096;

    /// <summary>Where the agent failed to start a program: in the working folder.</summary>
    public const uint StageFolder = 2;

    private const uint HasInput = 1, HasTerminal = 2, IsClean = 4;

    private static ReadOnlySpan<byte> Magic => "KVMA"u8;

    /// <summary>The host's greeting.</summary>
    public static byte[] Hello()
    {
        byte[] hello = new byte[8];
        Magic.CopyTo(hello);
        BinaryPrimitives.WriteUInt16LittleEndian(hello.AsSpan(4), Version);
        BinaryPrimitives.WriteUInt16LittleEndian(hello.AsSpan(6), Version);
        return hello;
    }

    /// <summary>What is wrong with the agent's greeting, or null.</summary>
    public static string? Check(ReadOnlySpan<byte> hello)
    {
        if (hello.Length < 8 || !hello.StartsWith(Magic))
            return "what listens at its port does not greet as an agent does";
        ushort lowest = BinaryPrimitives.ReadUInt16LittleEndian(hello[4..]), highest = BinaryPrimitives.ReadUInt16LittleEndian(hello[6..]);
        return lowest <= Version && Version <= highest ? null : $"the agent speaks version {lowest} to {highest}, and this program version {Version}";
    }

    /// <summary>A program to be started.</summary>
    /// <exception cref="ArgumentException">It is longer than a frame, or a text has a zero in it.</exception>
    public static byte[] Exec(AgentCommand command, int window)
    {
        if (command.Words.Count is 0 or > MostWords || command.Environment.Count > MostWords)
            throw new ArgumentException($"a command has 1 to {MostWords} words, and as many variables at most", nameof(command));
        string[] texts = [command.Folder ?? "", .. command.Words, .. command.Environment.Select(variable => $"{variable.Key}={variable.Value}")];
        byte[] payload = new byte[20 + texts.Sum(text => Encoding.UTF8.GetByteCount(text) + 1)];
        if (payload.Length > MostPayload || Array.Exists(texts, text => text.Contains('\0', StringComparison.Ordinal)) || command.Words[0].Length == 0)
            throw new ArgumentException($"a command has a program, no zeros, and {MostPayload} bytes with its variables at most", nameof(command));
        uint flags = (command.HasInput ? HasInput : 0) | (command.Terminal is null ? 0 : HasTerminal) | (command.CleanEnvironment ? IsClean : 0);
        var at = payload.AsSpan();
        BinaryPrimitives.WriteUInt32LittleEndian(at, flags);
        BinaryPrimitives.WriteUInt32LittleEndian(at[4..], (uint)window);
        BinaryPrimitives.WriteUInt32LittleEndian(at[8..], (uint)window);
        BinaryPrimitives.WriteUInt16LittleEndian(at[12..], command.Terminal?.Rows ?? 0);
        BinaryPrimitives.WriteUInt16LittleEndian(at[14..], command.Terminal?.Columns ?? 0);
        BinaryPrimitives.WriteUInt16LittleEndian(at[16..], (ushort)command.Words.Count);
        BinaryPrimitives.WriteUInt16LittleEndian(at[18..], (ushort)command.Environment.Count);
        at = at[20..];
        foreach (string text in texts)
            at = at[(Encoding.UTF8.GetBytes(text, at) + 1)..];
        return payload;
    }

    /// <summary>A copy of what is at a path in the guest.</summary>
    /// <exception cref="ArgumentException">The path is empty, has a zero in it, or is longer than Linux's paths.</exception>
    public static byte[] Copy(string path, bool deep)
    {
        byte[] payload = new byte[4 + Encoding.UTF8.GetByteCount(path) + 1];
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal) || payload.Length - 4 > MostPath)
            throw new ArgumentException($"a path in the guest has 1 to {MostPath - 1} bytes, none of them zero", nameof(path));
        payload[0] = deep ? (byte)1 : (byte)0;
        Encoding.UTF8.GetBytes(path, payload.AsSpan(4));
        return payload;
    }

    /// <summary>Two numbers of four bytes; null where the payload is not eight bytes.</summary>
    public static (uint First, uint Second)? Pair(ReadOnlySpan<byte> payload) =>
        payload.Length == 8 ? (BinaryPrimitives.ReadUInt32LittleEndian(payload), BinaryPrimitives.ReadUInt32LittleEndian(payload[4..])) : null;

    /// <summary>Two numbers of four bytes as a payload.</summary>
    public static byte[] OfPair(uint first, uint second)
    {
        byte[] payload = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, first);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), second);
        return payload;
    }

    /// <summary>The exception a failure of the agent's is: its error number, where it happened, and a text.</summary>
    public static AgentException Failure(ReadOnlySpan<byte> payload, ErrorInfo error)
    {
        if (payload.Length < 8)
            return AgentException.Bad("it fails without an error number");
        var (errno, stage) = Pair(payload[..8])!.Value;
        string what = VisibleText.Quote(Encoding.UTF8.GetString(payload[8..]), 200);
        string text = errno <= int.MaxValue ? Errno.TextOf((int)errno) : $"errno {errno}";
        string detail = payload.Length == 8 ? text : error == AgentErrors.NoProgram && stage == StageFolder ? $"the folder {what}: {text}" : $"{what}: {text}";
        return new AgentException(error, detail) { GuestErrno = (int)Math.Min(errno, int.MaxValue) };
    }
}
