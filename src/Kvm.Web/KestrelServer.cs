using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Kvm.Web;

/// <summary>
/// Kestrel on one port of 127.0.0.1 or on a socket that is there, without the host, configuration and routing that usually are around it: they
/// would add a megabyte to the resident memory of every start of the program, also of those that serve nothing.
/// </summary>
internal static class KestrelServer
{
    private const int MostConnections = 32;

    /// <summary>The longest body of a page's request, in bytes.</summary>
    public const int MostBody = 64 << 10;

    /// <summary>Makes the server of a page; it does not listen yet.</summary>
    /// <param name="port">The port, 0 for a free one.</param>
    public static ServiceProvider Create(int port) =>
        Create(options => options.Listen(IPAddress.Loopback, port, endpoint => endpoint.Protocols = HttpProtocols.Http1), MostConnections, MostBody);

    /// <summary>Makes the server of a socket that listens; it takes no client yet.</summary>
    /// <param name="descriptor">The socket's descriptor, which the server closes.</param>
    /// <param name="mostConnections">Clients at a time.</param>
    /// <param name="mostBody">The longest body of a request, in bytes.</param>
    /// <param name="mayAsk">Whether who has connected may ask; who may not is hung up on.</param>
    public static ServiceProvider Create(int descriptor, int mostConnections, int mostBody, Func<ConnectionContext, bool> mayAsk) => Create(
        options => options.ListenHandle((ulong)descriptor, endpoint =>
        {
            endpoint.Protocols = HttpProtocols.Http1;
            endpoint.Use(next => connection => mayAsk(connection) ? next(connection) : Task.CompletedTask);
        }), mostConnections, mostBody);

    private static ServiceProvider Create(Action<KestrelServerOptions> listen, int mostConnections, int mostBody)
    {
        var services = new ServicesAlone();
        services.UseKestrelCore().ConfigureKestrel(options =>
        {
            listen(options);
            options.AddServerHeader = false;
            Bound(options.Limits, mostConnections, mostBody);
        });
        services.Collected.AddOptions();
        services.Collected.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance);
        services.Collected.AddSingleton<DiagnosticSource>(new DiagnosticListener("Kvm.Web"));
        services.Collected.AddSingleton<IMeterFactory, Meters>();
        return services.Collected.BuildServiceProvider();
    }

    private static void Bound(KestrelServerLimits limits, int mostConnections, int mostBody)
    {
        limits.MaxConcurrentConnections = mostConnections;
        limits.MaxConcurrentUpgradedConnections = 0;
        limits.MaxRequestBodySize = mostBody;
        limits.MaxRequestBufferSize = MostBody;
        limits.MaxRequestLineSize = 4 << 10;
        limits.MaxRequestHeaderCount = 64;
        limits.MaxRequestHeadersTotalSize = 16 << 10;
        limits.MaxResponseBufferSize = 256 << 10;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
        limits.KeepAliveTimeout = TimeSpan.FromSeconds(60);
    }

    /// <summary>Kestrel counts, and nobody listens.</summary>
    private sealed class Meters : IMeterFactory
    {
        private readonly List<Meter> _made = [];

        public Meter Create(MeterOptions options)
        {
            var meter = new Meter(options.Name, options.Version, options.Tags, scope: this);
            lock (_made)
                _made.Add(meter);
            return meter;
        }

        public void Dispose()
        {
            lock (_made)
                _made.ForEach(meter => meter.Dispose());
        }
    }

    /// <summary>Kestrel registers itself with a builder of web hosts; nothing but the services is wanted of it.</summary>
    private sealed class ServicesAlone : IWebHostBuilder
    {
        private readonly WebHostBuilderContext _context = new();

        public ServiceCollection Collected { get; } = [];

        public IWebHost Build() => throw new NotSupportedException("there is no host, only a server");

        public IWebHostBuilder ConfigureAppConfiguration(Action<WebHostBuilderContext, IConfigurationBuilder> configureDelegate) => this;

        public IWebHostBuilder ConfigureServices(Action<IServiceCollection> configureServices)
        {
            configureServices(Collected);
            return this;
        }

        public IWebHostBuilder ConfigureServices(Action<WebHostBuilderContext, IServiceCollection> configureServices)
        {
            configureServices(_context, Collected);
            return this;
        }

        public string? GetSetting(string key) => null;

        public IWebHostBuilder UseSetting(string key, string? value) => this;
    }
}
