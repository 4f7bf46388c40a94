using Xunit.Abstractions;
using Xunit.Sdk;

namespace Kvm.Testing.Xunit;

/// <summary>Finds the tests of <see cref="VmFactAttribute"/>; xunit makes it by its name.</summary>
/// <param name="diagnostics">Where xunit takes messages.</param>
public sealed class VmFactDiscoverer(IMessageSink diagnostics) : FactDiscoverer(diagnostics)
{
    /// <inheritdoc/>
    protected override IXunitTestCase CreateTestCase(ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo factAttribute) =>
        new VmTestCase(DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, null,
            factAttribute.GetNamedArgument<bool>(nameof(VmFactAttribute.RequiresKvm)));
}

/// <summary>Finds the tests of <see cref="VmTheoryAttribute"/>; xunit makes it by its name.</summary>
/// <param name="diagnostics">Where xunit takes messages.</param>
public sealed class VmTheoryDiscoverer(IMessageSink diagnostics) : TheoryDiscoverer(diagnostics)
{
    /// <inheritdoc/>
    protected override IEnumerable<IXunitTestCase> CreateTestCasesForDataRow(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute, object[] dataRow) =>
        [new VmTestCase(DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, dataRow,
            theoryAttribute.GetNamedArgument<bool>(nameof(VmTheoryAttribute.RequiresKvm)))];

    /// <inheritdoc/>
    protected override IEnumerable<IXunitTestCase> CreateTestCasesForTheory(
        ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute) =>
        [new VmTheoryTestCase(DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod,
            theoryAttribute.GetNamedArgument<bool>(nameof(VmTheoryAttribute.RequiresKvm)))];
}
