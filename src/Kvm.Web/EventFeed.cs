using System.Text;
using System.Threading.Channels;

namespace Kvm.Web;

/// <summary>
/// What pages are told as it happens (server-sent events, HTML, 9.2). Whoever publishes never waits: a reader that is behind loses events, and
/// is told how many. A reader that comes late, or again, begins with what is kept.
/// </summary>
/// <remarks>Safe from any thread.</remarks>
public sealed class EventFeed
{
    /// <summary>Events that wait for one reader.</summary>
    internal const int MostWaiting = 128;

    private const int MostReaders = 8;

    private readonly Lock _lock = new();
    private readonly Queue<byte[]> _history = new();
    private readonly Dictionary<string, byte[]> _lasting = [];
    private readonly List<EventReader> _readers = [];
    private readonly TaskCompletionSource _read = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly long _mostHistory;
    private long _historyBytes;
    private long _forgotten;
    private bool _ended;

    /// <param name="mostHistory">How many bytes of the past are kept for readers that come late.</param>
    public EventFeed(long mostHistory = 4 << 20) => _mostHistory = mostHistory;

    /// <summary>Completes when the first page reads.</summary>
    public Task FirstReader => _read.Task;

    /// <summary>Pages that read now.</summary>
    public int Readers
    {
        get
        {
            lock (_lock)
                return _readers.Count;
        }
    }

    /// <summary>Events that are gone from the past.</summary>
    public long Forgotten
    {
        get
        {
            lock (_lock)
                return _forgotten;
        }
    }

    /// <summary>Tells an event that is part of a story: a reader that comes late is told it too, as long as it is kept.</summary>
    /// <param name="kind">Its name: letters.</param>
    /// <param name="json">One JSON value, without line ends.</param>
    public void Publish(string kind, ReadOnlySpan<byte> json)
    {
        byte[] frame = Frame(kind, json);
        lock (_lock)
        {
            if (_ended)
                return;
            _history.Enqueue(frame);
            _historyBytes += frame.Length;
            while (_historyBytes > _mostHistory && _history.TryDequeue(out var old))
            {
                _historyBytes -= old.Length;
                _forgotten++;
            }

            Offer(frame);
        }
    }

    /// <summary>Tells how something is now: the last event of a kind replaces those before.</summary>
    /// <inheritdoc cref="Publish"/>
    public void PublishLast(string kind, ReadOnlySpan<byte> json)
    {
        byte[] frame = Frame(kind, json);
        lock (_lock)
        {
            if (_ended)
                return;
            _lasting[kind] = frame;
            Offer(frame);
        }
    }

    /// <summary>Ends all readers' streams, once they have what waits for them.</summary>
    public void End()
    {
        lock (_lock)
        {
            _ended = true;
            foreach (var reader in _readers)
                reader.Complete();
        }
    }

    /// <summary>Begins to read: first what is kept. Null where too many read already, or nothing will come.</summary>
    internal EventReader? TryOpen()
    {
        lock (_lock)
        {
            if (_ended || _readers.Count == MostReaders)
                return null;
            var reader = new EventReader(this, [.. _lasting.Values, .. _history]);
            _readers.Add(reader);
            _read.TrySetResult();
            return reader;
        }
    }

    internal void Close(EventReader reader)
    {
        lock (_lock)
            _readers.Remove(reader);
    }

    internal static byte[] Frame(string kind, ReadOnlySpan<byte> json) => [.. Encoding.ASCII.GetBytes($"event: {kind}\ndata: "), .. json, .. "\n\n"u8];

    private void Offer(byte[] frame)
    {
        foreach (var reader in _readers)
            reader.Offer(frame);
    }
}

/// <summary>What one page is still to be told. One task reads.</summary>
internal sealed class EventReader(EventFeed feed, IReadOnlyList<byte[]> kept) : IDisposable
{
    private readonly Channel<byte[]> _waiting = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(EventFeed.MostWaiting) { SingleReader = true });
    private long _dropped;

    /// <summary>What had happened before.</summary>
    public IReadOnlyList<byte[]> Kept => kept;

    /// <summary>What happens since.</summary>
    public ChannelReader<byte[]> Waiting => _waiting.Reader;

    /// <summary>Events that found no room so far.</summary>
    public long Dropped => Volatile.Read(ref _dropped);

    /// <summary>One more; dropped and counted where there is no room. One thread at a time.</summary>
    public void Offer(byte[] frame)
    {
        if (!_waiting.Writer.TryWrite(frame))
            Interlocked.Increment(ref _dropped);
    }

    public void Complete() => _waiting.Writer.TryComplete();

    public void Dispose() => feed.Close(this);
}
