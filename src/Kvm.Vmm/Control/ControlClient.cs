using System.Globalization;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Control;

/// <summary>Asks a running guest by its name.</summary>
public sealed class ControlClient : IDisposable
{
    private readonly UnixSocket _socket;
    private readonly string _name;
    private byte[] _buffer = new byte[1 << 16];
    private int _filled;

    private ControlClient(UnixSocket socket, string name)
    {
        _socket = socket;
        _name = name;
    }

    /// <summary>The names of guests of this user that have a socket, in order; one that was killed may be among them.</summary>
    /// <param name="runtimeFolder">Where sockets are.</param>
    public static IReadOnlyList<string> Names(string runtimeFolder)
    {
        ArgumentNullException.ThrowIfNull(runtimeFolder);
        string folder = Path.Combine(runtimeFolder, "vms");
        return Directory.Exists(folder) ? [.. Directory.EnumerateFileSystemEntries(folder, "*.sock").Select(Path.GetFileNameWithoutExtension).OfType<string>().Order(StringComparer.Ordinal)] : [];
    }

    /// <summary>Connects to a guest.</summary>
    /// <param name="runtimeFolder">Where sockets are.</param>
    /// <param name="name">The guest's name.</param>
    /// <exception cref="VmmException">Nobody answers there: KVM0306.</exception>
    public static ControlClient Connect(string runtimeFolder, string name)
    {
        ArgumentNullException.ThrowIfNull(runtimeFolder);
        ArgumentNullException.ThrowIfNull(name);
        if (ControlProtocol.PathOf(runtimeFolder, name) is not { } path)
            throw new VmmException(ControlErrors.NoGuest, $"{VisibleText.Quote(name, 64)} is no name that can be asked for");
        return TryConnectTo(path, name, out int error) ?? throw new VmmException(ControlErrors.NoGuest, $"{name}: {Errno.TextOf(-error)}");
    }

    /// <summary>Connects to a socket by its path.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="name">What it is called in messages.</param>
    /// <returns>Null where nobody answers.</returns>
    public static ControlClient? TryConnectTo(string path, string name) => TryConnectTo(path, name, out _);

    private static ControlClient? TryConnectTo(string path, string name, out int error)
    {
        error = UnixSocket.TryConnect(path, out var socket);
        return error == 0 ? new ControlClient(socket!, name) : null;
    }

    /// <summary>Asks for statistics; <see cref="TryRead"/> gives them.</summary>
    /// <param name="interval">Time between two, 50 ms to an hour.</param>
    /// <param name="count">How many; 0 for no end.</param>
    /// <exception cref="VmmException">The guest is gone.</exception>
    public void AskStatistics(TimeSpan interval, long count) => Ask(string.Create(CultureInfo.InvariantCulture, $"stats {(long)interval.TotalMilliseconds} {count}"));

    /// <summary>Asks for something; <see cref="TryRead"/> gives the answers.</summary>
    /// <param name="request">The word of a request and what belongs to it, without a line end.</param>
    /// <exception cref="VmmException">The guest is gone.</exception>
    public void Ask(string request) => Send(ControlProtocol.Line(request));

    /// <summary>Asks for something that has one answer.</summary>
    /// <param name="request">As of <see cref="Ask"/>.</param>
    /// <returns>The answer, or null where the guest has ended meanwhile.</returns>
    /// <exception cref="VmmException">The guest is gone, or says that it cannot: KVM0307.</exception>
    public JsonElement? AskOnce(string request)
    {
        Ask(request);
        if (!TryRead(out var line))
            return null;
        try
        {
            using var answer = JsonDocument.Parse(line);
            return !answer.RootElement.TryGetProperty("error", out var error) ? answer.RootElement.Clone()
                : throw new VmmException(ControlErrors.Refused, $"{_name}: {VisibleText.Escape(error.ToString())}");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new VmmException(ControlErrors.NoGuest, $"{_name} answers with what is no JSON", e);
        }
    }

    /// <summary>Sends what belongs to a request that takes more than a line.</summary>
    /// <exception cref="VmmException">The guest is gone.</exception>
    public void Send(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int count = _socket.Send(bytes);
            if (count < 0)
                throw new VmmException(ControlErrors.NoGuest, $"{_name} hung up");
            bytes = bytes[count..];
        }
    }

    /// <summary>What has come, where answers are no lines: blocks until there is something.</summary>
    /// <returns>How many bytes; 0 when the guest has ended or has said all.</returns>
    public int Read(Span<byte> buffer)
    {
        if (_filled > 0)
        {
            int taken = Math.Min(_filled, buffer.Length);
            _buffer.AsSpan(0, taken).CopyTo(buffer);
            _filled -= taken;
            _buffer.AsSpan(taken, _filled).CopyTo(_buffer);
            return taken;
        }

        int count = _socket.Receive(buffer, out var descriptor);
        descriptor?.Dispose();
        return Math.Max(0, count);
    }

    /// <summary>The next answer, a JSON document; false when the guest has ended or has said all.</summary>
    /// <param name="answer">The line, without its end; valid until the next call.</param>
    /// <exception cref="VmmException">What comes is no answer.</exception>
    public bool TryRead(out ReadOnlyMemory<byte> answer)
    {
        answer = default;
        while (true)
        {
            int end = _buffer.AsSpan(0, _filled).IndexOf((byte)'\n');
            if (end >= 0)
            {
                byte[] line = _buffer.AsSpan(0, end).ToArray();
                _buffer.AsSpan(end + 1, _filled - end - 1).CopyTo(_buffer);
                _filled -= end + 1;
                answer = line;
                return true;
            }

            if (_filled == _buffer.Length)
            {
                if (_filled >= ControlProtocol.MostAnswerBytes)
                    throw new VmmException(ControlErrors.NoGuest, $"{_name} answers with more than {ControlProtocol.MostAnswerBytes} bytes");
                Array.Resize(ref _buffer, _buffer.Length * 2);
            }

            int count = _socket.Receive(_buffer.AsSpan(_filled), out var descriptor);
            descriptor?.Dispose();
            if (count <= 0)
                return false;
            _filled += count;
        }
    }

    /// <summary>Has <see cref="TryRead"/> on another thread end.</summary>
    public void Cancel() => _socket.Shutdown();

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();
}
