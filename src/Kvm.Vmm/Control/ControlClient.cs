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
        int error = UnixSocket.TryConnect(path, out var socket);
        return error == 0 ? new ControlClient(socket!, name) : throw new VmmException(ControlErrors.NoGuest, $"{name}: {Errno.TextOf(-error)}");
    }

    /// <summary>Asks for statistics; <see cref="TryRead"/> gives them.</summary>
    /// <param name="interval">Time between two, 50 ms to an hour.</param>
    /// <param name="count">How many; 0 for no end.</param>
    /// <exception cref="VmmException">The guest is gone.</exception>
    public void AskStatistics(TimeSpan interval, long count)
    {
        if (_socket.Send(ControlProtocol.Request(interval, count)) < 0)
            throw new VmmException(ControlErrors.NoGuest, $"{_name} hung up");
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
