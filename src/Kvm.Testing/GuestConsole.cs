using System.Text;
using System.Text.RegularExpressions;

namespace Kvm.Testing;

/// <summary>What a guest has printed, the last 4 MiB of it. Any thread.</summary>
public sealed class GuestConsole
{
    internal const int MostChars = 4 << 20;
    private const int TailChars = 2000;

    private readonly Lock _gate = new();
    private readonly StringBuilder _text = new();
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly char[] _characters = new char[Encoding.UTF8.GetMaxCharCount(4096)];
    private readonly List<Waiter> _waiters = [];
    private long _forgotten;
    private Exception? _closed;

    internal GuestConsole()
    {
    }

    /// <summary>All of it.</summary>
    public string Text
    {
        get
        {
            lock (_gate)
                return _text.ToString();
        }
    }

    /// <summary>How many characters were printed by now: what comes later is looked at by <see cref="WaitForLineAsync(Regex, long, CancellationToken)"/> alone.</summary>
    public long Position
    {
        get
        {
            lock (_gate)
                return _forgotten + _text.Length;
        }
    }

    /// <summary>Its end, for messages.</summary>
    public string Tail
    {
        get
        {
            lock (_gate)
                return _text.Length > TailChars ? "… " + _text.ToString(_text.Length - TailChars, TailChars) : _text.ToString();
        }
    }

    /// <summary>Waits until the guest has printed a line.</summary>
    /// <param name="line">What is to be found in the line; a line is looked at when it has its end.</param>
    /// <param name="since">A <see cref="Position"/> from which on to look; 0 for all that was printed.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>The line, without its end.</returns>
    /// <exception cref="GuestEndedException">The guest ended without having printed it.</exception>
    public async Task<string> WaitForLineAsync(Regex line, long since = 0, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(line);
        var waiter = new Waiter(line, since);
        lock (_gate)
        {
            if (Find(waiter) is { } found)
                return found;
            if (_closed is not null)
                throw _closed;
            _waiters.Add(waiter);
        }

        await using var registration = cancellation.Register(() => waiter.Done.TrySetCanceled(cancellation)).ConfigureAwait(false);
        try
        {
            return await waiter.Done.Task.ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
                _waiters.Remove(waiter);
        }
    }

    /// <summary>Takes what the guest prints. On a vCPU or device thread.</summary>
    internal void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            for (; !bytes.IsEmpty; bytes = bytes[Math.Min(4096, bytes.Length)..])
            {
                int count = _decoder.GetChars(bytes[..Math.Min(4096, bytes.Length)], _characters, flush: false);
                _text.Append(_characters, 0, count);
            }

            // A quarter at once: what is forgotten moves all that is kept.
            if (_text.Length > MostChars)
            {
                _text.Remove(0, MostChars / 4);
                _forgotten += MostChars / 4;
            }

            for (int i = _waiters.Count - 1; i >= 0; i--)
            {
                if (Find(_waiters[i]) is { } found)
                {
                    _waiters[i].Done.TrySetResult(found);
                    _waiters.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>Nothing will be printed any more: who waits learns why.</summary>
    internal void Close(Exception why)
    {
        lock (_gate)
        {
            _closed = why;
            foreach (var waiter in _waiters)
                waiter.Done.TrySetException(why);
        }
    }

    /// <summary>Another run of the same guest prints on.</summary>
    internal void Reopen()
    {
        lock (_gate)
            _closed = null;
    }

    /// <summary>Another run prints on from where an earlier one was: what that printed later is forgotten.</summary>
    internal void Rewind(long position)
    {
        lock (_gate)
        {
            _closed = null;
            _decoder.Reset();
            if (position < _forgotten)
                (_forgotten, _text.Length) = (position, 0);
            else
                _text.Length = (int)Math.Min(_text.Length, position - _forgotten);
        }
    }

    private string? Find(Waiter waiter)
    {
        int start = (int)Math.Max(0, waiter.From - _forgotten);
        for (int end = start; end < _text.Length; end++)
        {
            if (_text[end] != '\n')
                continue;
            string line = _text.ToString(start, end - start).TrimEnd('\r');
            if (waiter.Line.IsMatch(line))
                return line;
            start = end + 1;
            // It is not looked at again.
            waiter.From = _forgotten + start;
        }

        return null;
    }

    private sealed class Waiter(Regex line, long since)
    {
        public Regex Line => line;

        public long From { get; set; } = since;

        public TaskCompletionSource<string> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
