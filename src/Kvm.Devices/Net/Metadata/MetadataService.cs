using System.Buffers.Text;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Net.Metadata;

/// <summary>Which of Firecracker's protocols a metadata service speaks.</summary>
public enum MetadataVersion
{
    /// <summary>Whoever asks is answered; tokens are given and not needed.</summary>
    V1,

    /// <summary>A token is asked for first, and said with every question.</summary>
    V2,
}

/// <summary>What a service did.</summary>
/// <param name="Requests">Requests that were answered, in whatever way.</param>
/// <param name="Refused">Those of them that were answered with an error.</param>
/// <param name="Tokens">Tokens given.</param>
public readonly record struct MetadataCounters(long Requests, long Refused, long Tokens);

/// <summary>An answer: a head, and bytes behind it that are somebody else's.</summary>
/// <param name="HeadLength">Bytes of the head.</param>
/// <param name="Body">Where the rest is.</param>
/// <param name="BodyStart">Its first byte.</param>
/// <param name="BodyLength">Its bytes.</param>
/// <param name="Closes">Nothing follows on the connection.</param>
internal readonly record struct MetadataReply(int HeadLength, byte[] Body, int BodyStart, int BodyLength, bool Closes)
{
    public int Length => HeadLength + BodyLength;
}

/// <summary>
/// Answers questions about a machine's metadata as Firecracker's MMDS does (docs/mmds/mmds-user-guide.md there), versions 1 and 2. Safe from any
/// thread; allocates nothing for a request.
/// </summary>
/// <param name="version">Which protocol.</param>
/// <param name="plainOnly">Answers in EC2's plain form whatever is asked for (<c>imds_compat</c>).</param>
/// <param name="entropy">Where tokens come from.</param>
/// <param name="time">The clock of tokens.</param>
public sealed class MetadataService(MetadataVersion version, bool plainOnly, IEntropySource entropy, TimeProvider time)
{
    /// <summary>Room for an answer's head, and for all of an answer that is no metadata.</summary>
    internal const int HeadBytes = 512;

    private readonly Lock _gate = new();
    private readonly MetadataTokens _tokens = new(entropy, time);
    private volatile MetadataTree _tree = MetadataTree.Empty;
    private long _requests, _refused, _given;

    /// <summary>What may be asked for; may be changed at any time.</summary>
    public MetadataTree Tree
    {
        get => _tree;
        set => _tree = value;
    }

    /// <summary>What it did.</summary>
    public MetadataCounters Counters => new(Volatile.Read(ref _requests), Volatile.Read(ref _refused), Volatile.Read(ref _given));

    /// <summary>Answers a request.</summary>
    /// <param name="bytes">What has come of it, and perhaps of what follows.</param>
    /// <param name="room">The most bytes a request may have; one of which as many came without its end is answered too.</param>
    /// <param name="head">Room for <see cref="HeadBytes"/>.</param>
    /// <param name="reply">The answer.</param>
    /// <returns>Bytes of the request; 0 if more of it has to come.</returns>
    internal int Answer(ReadOnlySpan<byte> bytes, int room, byte[] head, out MetadataReply reply)
    {
        reply = default;
        var parsed = HttpRequest.TryParse(bytes, out var request);
        bool tooLong = parsed == HttpParse.Incomplete && bytes.Length >= room;
        if (parsed == HttpParse.Incomplete && !tooLong)
            return 0;
        if (tooLong)
            reply = Refuse(head, "431 Request Header Fields Too Large"u8, "The request is too large."u8, closes: true);
        else if (parsed == HttpParse.Malformed)
            reply = Refuse(head, "400 Bad Request"u8, "The request is malformed."u8, closes: true);
        else if (request.HasOtherBody)
            reply = Refuse(head, "501 Not Implemented"u8, "Transfer-Encoding is not supported."u8, closes: true);
        else if (request.BodyLength > room - request.HeadLength)
            reply = Refuse(head, "413 Content Too Large"u8, "The request is too large."u8, closes: true);
        else if (request.BodyLength > bytes.Length - request.HeadLength)
            return 0;
        else
            reply = Answer(in request, head);
        Interlocked.Increment(ref _requests);
        return reply.Closes ? bytes.Length : request.HeadLength + (int)request.BodyLength;
    }

    private MetadataReply Answer(in HttpRequest request, byte[] head)
    {
        bool closes = !request.KeepsAlive;
        if (request.Path.IsEmpty || request.Path[0] != '/')
            return Refuse(head, "400 Bad Request"u8, "Invalid URI."u8, closes);
        if (request.Method.SequenceEqual("GET"u8))
            return Get(in request, head, closes);
        if (request.Method.SequenceEqual("PUT"u8))
            return Put(in request, head, closes);
        return Refuse(head, "405 Method Not Allowed"u8, "Not allowed HTTP method."u8, closes: true, "Allow: GET, PUT\r\n"u8);
    }

    private MetadataReply Get(in HttpRequest request, byte[] head, bool closes)
    {
        if (version == MetadataVersion.V2)
        {
            if (request.Token.IsEmpty)
                return Refuse(head, "401 Unauthorized"u8, "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token."u8, closes);
            bool good;
            lock (_gate)
                good = _tokens.IsGood(request.Token);
            if (!good)
                return Refuse(head, "401 Unauthorized"u8, "MMDS token not valid."u8, closes);
        }

        bool json = request.WantsJson && !plainOnly;
        var tree = _tree;
        switch (tree.Find(request.Path, json, out var place))
        {
            case MetadataFind.Missing:
                return Refuse(head, "404 Not Found"u8, "Resource not found."u8, closes);
            case MetadataFind.NotText:
                return Refuse(head, "501 Not Implemented"u8, "Cannot retrieve value. The value has an unsupported type."u8, closes);
        }

        var text = new HeadWriter(head, "200 OK"u8, json ? "application/json"u8 : "text/plain"u8, place.Length, closes);
        text.EndHead();
        return new MetadataReply(text.Length, tree.Bytes, place.Start, place.Length, closes);
    }

    private MetadataReply Put(in HttpRequest request, byte[] head, bool closes)
    {
        if (request.IsForwarded)
            return Refuse(head, "400 Bad Request"u8, "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For"u8, closes);
        if (!IsTokenPath(request.Path))
            return Refuse(head, "404 Not Found"u8, "Resource not found."u8, closes);
        bool isEc2 = request.Lifetime.IsEmpty;
        var lifetime = isEc2 ? request.Ec2Lifetime : request.Lifetime;
        if (lifetime.IsEmpty)
            return Refuse(head, "400 Bad Request"u8, "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime."u8, closes);
        if (!Utf8Parser.TryParse(lifetime, out int seconds, out int used) || used != lifetime.Length || seconds is < MetadataTokens.LeastSeconds or > MetadataTokens.MostSeconds)
            return Refuse(head, "400 Bad Request"u8, "Invalid time to live value provided for token. Please provide a value between 1 and 21600."u8, closes);
        Span<byte> token = stackalloc byte[MetadataTokens.Length];
        lock (_gate)
            _tokens.Make(seconds, token);
        Interlocked.Increment(ref _given);
        var text = new HeadWriter(head, "200 OK"u8, "text/plain"u8, token.Length, closes);
        // EC2's clients read how long it is good for from the answer.
        text.Add(isEc2 ? "X-aws-ec2-metadata-token-ttl-seconds: "u8 : "X-metadata-token-ttl-seconds: "u8);
        text.Add(seconds);
        text.Add("\r\n"u8);
        text.EndHead();
        text.Add(token);
        return new MetadataReply(text.Length, [], 0, 0, closes);
    }

    private static bool IsTokenPath(ReadOnlySpan<byte> path)
    {
        var expected = "latest/api/token"u8;
        path = path.TrimStart((byte)'/');
        return path.SequenceEqual(expected) || (path.StartsWith(expected) && path[expected.Length..].IndexOfAnyExcept((byte)'/') < 0);
    }

    private MetadataReply Refuse(byte[] head, ReadOnlySpan<byte> status, ReadOnlySpan<byte> why, bool closes, ReadOnlySpan<byte> header = default)
    {
        Interlocked.Increment(ref _refused);
        var text = new HeadWriter(head, status, "text/plain"u8, why.Length, closes);
        text.Add(header);
        text.EndHead();
        text.Add(why);
        return new MetadataReply(text.Length, [], 0, 0, closes);
    }

    private ref struct HeadWriter
    {
        private readonly Span<byte> _to;

        public HeadWriter(Span<byte> to, ReadOnlySpan<byte> status, ReadOnlySpan<byte> type, int length, bool closes)
        {
            _to = to;
            Add("HTTP/1.1 "u8);
            Add(status);
            Add("\r\nContent-Type: "u8);
            Add(type);
            Add("\r\nContent-Length: "u8);
            Add(length);
            Add(closes ? "\r\nConnection: close\r\n"u8 : "\r\nConnection: keep-alive\r\n"u8);
        }

        public int Length { get; private set; }

        public void EndHead() => Add("\r\n"u8);

        public void Add(scoped ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(_to[Length..]);
            Length += bytes.Length;
        }

        public void Add(int number)
        {
            Utf8Formatter.TryFormat(number, _to[Length..], out int written);
            Length += written;
        }
    }
}
